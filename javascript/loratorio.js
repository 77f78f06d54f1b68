/*
 * Keeps LoRAtorio's cost line current while the user types, and (by an option of the settings page) the panels
 * of txt2img and img2img alike. The page works without this file.
 */
(function () {
    "use strict";

    const TABS = ["txt2img", "img2img"];
    const WAIT = 400; // milliseconds after the last key

    function root() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function panelOf(tab) {
        const button = root().querySelector(`[id*="${tab}"].loratorio-estimate, [id*="${tab}"] .loratorio-estimate`);
        return button ? { button, prefix: button.id.replace(/estimate$/, "") } : null;
    }

    function tabOf(element) {
        for (const tab of TABS) {
            const panel = panelOf(tab);
            if (panel && (element.closest(`#${tab}_prompt`) || element.closest(`#${panel.prefix}enabled`))) {
                return tab;
            }
        }
        return null;
    }

    const waiting = new Map();

    function showCost(tab) {
        clearTimeout(waiting.get(tab));
        waiting.set(tab, setTimeout(function () {
            const panel = panelOf(tab);
            if (panel && !panel.button.disabled) {
                panel.button.click();
            }
        }, WAIT));
    }

    function inStep() {
        return typeof opts === "object" && opts !== null && opts.loratorio_in_step === true;
    }

    /* The same control of the other tab gets the same value. */
    function copyToOtherTab(tab, input) {
        const other = TABS.find((one) => one !== tab);
        const [mine, theirs] = [panelOf(tab), panelOf(other)];
        const holder = input.closest(`[id^="${mine.prefix}"]`);
        if (!theirs || !holder) {
            return;
        }
        const twin = root().querySelector(`#${holder.id.replace(mine.prefix, theirs.prefix)}`);
        const place = Array.from(holder.querySelectorAll("input, textarea")).indexOf(input);
        // The box in the panel's header has an id of its own.
        const target = holder === input ? twin : twin && twin.querySelectorAll("input, textarea")[place];
        if (!target || target.type !== input.type) {
            return;
        }
        if (input.type === "radio" || input.type === "checkbox") {
            if (target.checked !== input.checked) {
                target.click();
            }
        } else if (target.value !== input.value) {
            target.value = input.value;
            target.dispatchEvent(new Event("input", { bubbles: true }));
        }
    }

    function changed(event) {
        const input = event.target;
        if (!(input instanceof Element)) {
            return;
        }
        const tab = tabOf(input);
        if (tab === null) {
            return;
        }
        showCost(tab);
        // What this file itself sets is not trusted, and goes no further.
        if (event.isTrusted && inStep() && !input.closest(`#${tab}_prompt`)) {
            copyToOtherTab(tab, input);
        }
    }

    document.addEventListener("input", changed, true);
    document.addEventListener("change", changed, true);
})();
