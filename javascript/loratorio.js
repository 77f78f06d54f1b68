/*
 * Keeps LoRAtorio's cost line current while the user types, and (by an option of the settings page) the
 * panels of txt2img and img2img alike; lets masks be painted; helps screen readers where gradio does not. The
 * page works without this file.
 */
(function () {
    "use strict";

    const TABS = ["txt2img", "img2img"];
    const WAIT = 400; // milliseconds after the last key
    const TAKEN = 50; // milliseconds
    const LOOK = 1000; // milliseconds
    // A preset's values come from the server, which may be busy: panels are compared for a while.
    const ROUND = 300; // milliseconds
    const ROUNDS = 33;
    // They follow from other controls, or are not settings; the last is written by the box in the header.
    const NOT_COPIED = ["preset", "pool_list", "own_preset_name", "enabled-checkbox", "explain"];
    const OF_PROMPT = "place_";

    function root() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function panelOf(tab) {
        const button = root().querySelector(
            `[id*="${tab}"].loratorio-estimate, [id*="${tab}"] .loratorio-estimate`,
        );
        return button ? { button, prefix: button.id.replace(/estimate$/, "") } : null;
    }

    function tabOfPanel(element) {
        return TABS.find(function (tab) {
            const panel = panelOf(tab);
            return panel !== null && element.closest(`[id^="${panel.prefix}"]`) !== null;
        }) ?? null;
    }

    function tabOfPrompt(element) {
        return TABS.find((tab) => element.closest(`#${tab}_prompt`)) ?? null;
    }

    const waiting = new Map();

    function showCost(tab) {
        clearTimeout(waiting.get(tab));
        waiting.set(tab, setTimeout(function () {
            ask(panelOf(tab)?.button);
        }, WAIT));
    }

    function ask(button) {
        if (button?.dataset.asked) {
            button.dataset.again = 1; // loratorio_ext/ui/gradio_tools.py
        } else if (button && !button.disabled) {
            button.click();
        }
    }

    function inStep() {
        return typeof opts === "object" && opts !== null && opts.loratorio_in_step === true;
    }

    /* Every input of a panel that holds a setting, by a name that both panels have for it. */
    function inputsOf(tab) {
        const found = new Map();
        const panel = panelOf(tab);
        if (panel === null) {
            return found;
        }
        const prefix = panel.prefix;
        // A slider's value is in the number beside it too.
        const kinds = `:is(input:not([type="range"]), textarea)`;
        for (const input of root().querySelectorAll(`[id^="${prefix}"] ${kinds}`)) {
            // The box in the header has an id of its own.
            const holder = input.closest(`[id^="${prefix}"]`);
            const name = holder.id.slice(prefix.length);
            if (!NOT_COPIED.includes(name) && !name.startsWith(OF_PROMPT)) {
                const place = Array.from(holder.querySelectorAll("input, textarea")).indexOf(input);
                found.set(`${name} ${place}`, input);
            }
        }
        return found;
    }

    function valueOf(input) {
        return input.type === "radio" || input.type === "checkbox" ? input.checked : input.value;
    }

    function give(input, value) {
        if (input.disabled || valueOf(input) === value) {
            return;
        }
        if (input.type === "checkbox" || (input.type === "radio" && value)) {
            input.click();
        } else if (input.type !== "radio") {
            input.value = value;
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }
    }

    /* The panel that the user is at: its tab, its values before, and how often it is still looked at. */
    let watched = null;
    // A box that this file clicks fires an event that looks like a user's.
    let copying = false;

    function watch(tab) {
        if (watched === null || watched.tab !== tab) {
            const before = new Map();
            inputsOf(tab).forEach((input, name) => before.set(name, valueOf(input)));
            clearTimeout(watched?.timer);
            watched = { tab, before, rounds: 0, timer: setTimeout(copyChanges, ROUND) };
        }
        watched.rounds = ROUNDS;
    }

    /* What has changed in the panel that the user is at, by hand or as an answer, is copied into the other. */
    function copyChanges() {
        const theirs = inputsOf(TABS.find((tab) => tab !== watched.tab));
        copying = true;
        try {
            inputsOf(watched.tab).forEach(function (input, name) {
                const twin = theirs.get(name);
                if (twin && watched.before.get(name) !== valueOf(input)) {
                    give(twin, valueOf(input));
                }
            });
        } finally {
            copying = false;
        }
        watched.rounds -= 1;
        if (watched.rounds > 0) {
            watched.timer = setTimeout(copyChanges, ROUND);
        } else {
            watched = null;
        }
    }

    /* Before a key or a click takes effect. What this file sets is not copied again. */
    function acts(event) {
        const byUser = event.isTrusted && !copying && event.target instanceof Element;
        const tab = byUser && inStep() ? tabOfPanel(event.target) : null;
        if (tab !== null) {
            watch(tab);
        }
        return tab;
    }

    function changed(event) {
        const input = event.target;
        if (!(input instanceof Element)) {
            return;
        }
        const tab = tabOfPrompt(input) ?? tabOfPanel(input);
        if (tab !== null) {
            showCost(tab);
        }
        const acting = acts(event);
        if (acting !== null) {
            // Dictated or dropped: there was no key and no click before it.
            inputsOf(acting).forEach((one, name) => one === input && watched.before.delete(name));
        }
    }

    /* The panel whose grid is being painted, the cells that the pointer has met, and what becomes of them. */
    let painting = null;

    function gridOf(prefix) {
        return root().querySelector(`#${prefix}place_picture .loratorio-grid svg`);
    }

    function writeMask(prefix, rows) {
        give(root().querySelector(`#${prefix}place_mask :is(input, textarea)`), rows.join("/"));
        // gradio takes the text in after this event.
        setTimeout(() => ask(root().querySelector(`#${prefix}place_masked`)), TAKEN);
    }

    /*
     * What is painted counts as it stands in the text box, which has every stroke at once: an answer of the
     * server may come late, and replace the grid by one without this stroke, or without the one before.
     */
    function paint(event) {
        const grid = painting && event.isPrimary ? gridOf(painting.prefix) : null;
        if (grid === null) {
            return;
        }
        const cells = Array.from(grid.querySelectorAll("rect"));
        const columns = Number(grid.dataset.columns);
        const rows = cells.length / columns;
        const mask = root().querySelector(`#${painting.prefix}place_mask :is(input, textarea)`).value.split("/");
        const isOn = (cell) => mask[Math.floor(cell / columns)]?.[cell % columns] === "1";
        const box = grid.getBoundingClientRect();
        const points = event.getCoalescedEvents?.() ?? [];
        for (const point of [...points, event]) {
            const x = Math.floor((point.clientX - box.left) / box.width * columns);
            const y = Math.floor((point.clientY - box.top) / box.height * rows);
            if (x >= 0 && x < columns && y >= 0 && y < rows) {
                painting.on ??= !isOn(y * columns + x);
                painting.met.add(y * columns + x);
            }
        }
        const digits = cells.map((_, cell) => Number(painting.met.has(cell) ? painting.on : isOn(cell)));
        cells.forEach((cell, place) => cell.setAttribute("class", digits[place] ? "on" : "off"));
        painting.rows = Array.from({ length: rows }, (_, y) => digits.slice(y * columns, (y + 1) * columns).join(""));
    }

    function beginPainting(event) {
        const grid = event.target instanceof Element ? event.target.closest(".loratorio-grid svg") : null;
        const tab = grid !== null && event.isPrimary && event.button === 0 ? tabOfPanel(grid) : null;
        if (tab !== null) {
            event.preventDefault();
            painting = { prefix: panelOf(tab).prefix, met: new Set(), on: undefined, rows: [] };
            paint(event);
        }
    }

    function endPainting(event) {
        if (painting && event.isPrimary) {
            writeMask(painting.prefix, painting.rows);
            painting = null;
        }
    }

    function clearMask(event) {
        const button = event.target instanceof Element ? event.target.closest(".loratorio-grid button") : null;
        const tab = button ? tabOfPanel(button) : null;
        if (tab !== null) {
            writeMask(panelOf(tab).prefix, ["0"]);
        }
    }

    /* gradio 3 leaves the number beside a slider without a name. */
    function nameNumbers() {
        const numbers = TABS.map((tab) => `[id^="script_${tab}_loratorio_"] input[type="number"]`);
        for (const number of root().querySelectorAll(`${numbers}, [id^="loratorio_"] input[type="number"]`)) {
            const block = number.closest("[id]");
            const label = block.querySelector("[data-testid='block-info']");
            const named = number.labels.length > 0 || number.hasAttribute("aria-label");
            if (label !== null && !named) {
                label.id = label.id || `${block.id}_label`;
                number.setAttribute("aria-labelledby", label.id);
            }
        }
    }

    /* A control's long text, which the panel shows only when asked to, is its tooltip and its description. */
    function explain(event) {
        const block = event.target instanceof Element ? event.target.closest(".loratorio-panel .block[id]") : null;
        const help = block?.querySelector(".has-info + div");
        if (help && !help.id) {
            help.id = `${block.id}_help`;
            block.title = help.textContent;
            for (const one of block.querySelectorAll("input:not([type='radio']), textarea")) {
                one.setAttribute("aria-describedby", help.id);
            }
        }
    }

    /* gradio 3's headers of folded parts are no buttons, and no key reaches them. */
    function reachFolds({ prefix }) {
        for (const header of root().querySelectorAll(`[id^="${prefix}"] > div.label-wrap`)) {
            // A WebUI puts a box into the panel's own header, and nothing may be pressed inside of a button.
            const button = header.querySelector("input") ? header.querySelector(".icon") : header;
            button.setAttribute("aria-label", header.firstElementChild.textContent.trim());
            button.setAttribute("role", "button");
            button.tabIndex = 0;
            const tell = () => button.setAttribute("aria-expanded", header.classList.contains("open"));
            tell();
            new MutationObserver(tell).observe(header, { attributes: true, attributeFilter: ["class"] });
            button.addEventListener("keydown", function (event) {
                if (event.target === button && (event.key === "Enter" || event.key === " ")) {
                    event.preventDefault();
                    button.click();
                }
            });
        }
    }

    function helpReadersOf({ prefix }) {
        // A WebUI leaves the box in a panel's header without a name.
        const box = root().querySelector(`#${prefix}enabled-visible-checkbox`);
        if (box && !box.hasAttribute("aria-label")) {
            box.setAttribute("aria-label", box.parentElement.textContent.trim());
        }
        // An answer replaces the whole cost line; screen readers hear of changes inside what stays.
        root().querySelector(`#${prefix}cost`)?.parentElement.setAttribute("role", "status");
    }

    /* A page draws itself some time after its scripts have run. */
    function helpReaders(tries) {
        const panels = TABS.map(panelOf).filter(Boolean);
        if (panels.length > 0) {
            nameNumbers();
            panels.forEach(helpReadersOf);
            panels.forEach(reachFolds);
        } else if (tries > 0) {
            setTimeout(helpReaders, WAIT, tries - 1);
        }
    }

    const prompts = new Map();

    /* A prompt that is pasted, sent from another tab or taken from a picture comes without an event. */
    function lookAtPrompts() {
        for (const tab of TABS) {
            const prompt = root().querySelector(`#${tab}_prompt textarea, #${tab}_prompt input`);
            if (prompt && panelOf(tab) && prompt.value !== prompts.get(tab)) {
                prompts.set(tab, prompt.value);
                showCost(tab);
            }
        }
    }

    let inspected = true;

    /* Who opens the inspector is shown the newest run, not the one that was the newest when the page was. */
    function lookAtInspector() {
        const button = root().querySelector("#loratorio_inspector_refresh");
        const seen = button !== null && button.offsetParent !== null;
        if (seen && !inspected) {
            button.click();
        }
        inspected = seen;
    }

    setInterval(lookAtPrompts, LOOK);
    setInterval(lookAtInspector, LOOK / 4);
    document.documentElement.classList.add("loratorio-script");
    document.addEventListener("mouseover", explain, true);
    document.addEventListener("focusin", explain, true);
    document.addEventListener("pointerdown", acts, true);
    document.addEventListener("pointerdown", beginPainting, true);
    document.addEventListener("pointermove", paint, true);
    document.addEventListener("pointerup", endPainting, true);
    document.addEventListener("pointercancel", endPainting, true);
    document.addEventListener("click", clearMask, true);
    document.addEventListener("keydown", acts, true);
    document.addEventListener("click", acts, true);
    document.addEventListener("input", changed, true);
    document.addEventListener("change", changed, true);
    // A WebUI says when its page is there, and has made its own additions to it by then.
    if (typeof onUiLoaded === "function") {
        onUiLoaded(() => helpReaders(0));
    } else {
        helpReaders(300);
    }
})();
