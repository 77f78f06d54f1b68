/*
 * Keys, dropped pictures, and what a page that is loaded again remembers. The page works without this file.
 */
(function () {
    "use strict";

    const STEP = 0.05;
    const LARGEST_FILE = 64 * 1024 * 1024; // bytes
    const VALUES = "loratorio values";
    const SESSION = "loratorio session";
    const TAG = /<(?:lora|lyco):[^:<>]+:([+-]?\d*\.?\d+)/g;

    function set(box, text) {
        box.value = text;
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }

    /* The strength of the tag that the cursor is in, up or down. */
    function strengthen(box, step) {
        for (const found of box.value.matchAll(TAG)) {
            const end = box.value.indexOf(">", found.index);
            if (found.index <= box.selectionStart && box.selectionStart <= end + 1) {
                const to = found.index + found[0].length;
                const from = to - found[1].length;
                const number = `${Math.round((parseFloat(found[1]) + step) * 100) / 100}`;
                const place = Math.min(box.selectionStart, from);
                set(box, box.value.slice(0, from) + number + box.value.slice(to));
                box.setSelectionRange(place, place);
                return true;
            }
        }
        return false;
    }

    document.addEventListener("keydown", function (event) {
        if (!(event.ctrlKey || event.metaKey)) {
            return;
        }
        const step = { ArrowUp: STEP, ArrowDown: -STEP }[event.key];
        if (event.key === "Enter") {
            event.preventDefault();
            event.stopPropagation();
            document.getElementById("loratorio_page_generate")?.click();
        } else if (step && event.target.matches?.("#txt2img_prompt textarea") && strengthen(event.target, step)) {
            event.preventDefault();
        }
    }, true);

    /* The infotext of a PNG: a text chunk (PNG, third edition, section 11.3.3); null where there is none. */
    function infotextOf(buffer) {
        const view = new DataView(buffer);
        const bytes = new Uint8Array(buffer);
        for (let at = 8; at + 12 <= bytes.length;) {
            const length = view.getUint32(at);
            const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
            const data = bytes.subarray(at + 8, at + 8 + length);
            const name = data.indexOf(0);
            if (name > 0 && new TextDecoder("latin1").decode(data.subarray(0, name)) === "parameters") {
                if (kind === "tEXt") {
                    return new TextDecoder("latin1").decode(data.subarray(name + 1));
                }
                if (kind === "iTXt" && data[name + 1] === 0) {
                    const language = data.indexOf(0, name + 3);
                    return new TextDecoder().decode(data.subarray(data.indexOf(0, language + 1) + 1));
                }
            }
            at += 12 + length;
        }
        return null;
    }

    function holdsFiles(event) {
        return event.dataTransfer?.types.includes("Files") === true;
    }

    document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault(), true);
    document.addEventListener("drop", async function (event) {
        // What is dropped on a control for a picture is a picture to start from.
        if (!holdsFiles(event) || event.target.closest?.("#loratorio_page_start")) {
            return;
        }
        event.preventDefault();
        event.stopPropagation();
        const file = event.dataTransfer.files[0];
        const box = document.querySelector("#loratorio_page_dropped textarea");
        if (file && box) {
            const text = file.size <= LARGEST_FILE ? infotextOf(await file.arrayBuffer()) : null;
            // Without one the page says so; twice the same text would be no change.
            set(box, `${text ?? ""}${box.value.endsWith(" ") ? "" : " "}`);
        }
    }, true);

    /* A storage may be full, or not allowed here: then it is forgotten. */
    function write(storage, name, value) {
        try {
            storage.setItem(name, value);
        } catch {
            return;
        }
    }

    function read(storage, name) {
        try {
            return storage.getItem(name);
        } catch {
            return null;
        }
    }

    let begun = false;
    let early = null; // what was set before the page had its values of last time
    let session = null;

    /* Another tab of the browser has its own runs, but begins with what was set last. */
    window.loratorioPage = {
        keep(values) {
            if (!begun) {
                early = values;
                return;
            }
            write(sessionStorage, VALUES, JSON.stringify(values));
            write(localStorage, VALUES, JSON.stringify(values));
        },
        begin() {
            begun = true;
            if (early !== null) {
                this.keep(early);
            }
        },
        kept() {
            return read(sessionStorage, VALUES) ?? read(localStorage, VALUES) ?? "";
        },
        session() {
            session ??= read(sessionStorage, SESSION) ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
            write(sessionStorage, SESSION, session);
            return session;
        },
    };
})();
