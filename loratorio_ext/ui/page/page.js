// What javascript/loratorio.js waits for in a WebUI, for this page; and words for screen readers.
(() => {
  "use strict";
  const loaded = [];
  const updated = [];
  window.onUiLoaded = (callback) => loaded.push(callback);
  window.onUiUpdate = (callback) => updated.push(callback);
  window.onAfterUiUpdate = (callback) => updated.push(callback);
  window.gradioApp = () => document;

  let ready = false;
  let waiting = false;
  function look() {
    waiting = false;
    if (!document.getElementById("loratorio_page_generate")) return;
    if (!ready) {
      ready = true;
      loaded.forEach((callback) => callback());
    }
    updated.forEach((callback) => callback());
  }
  // Many changes come at once; one look a frame is enough.
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    window.requestAnimationFrame(look);
  }).observe(document, { childList: true, subtree: true });
})();
