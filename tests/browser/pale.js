// Texts with too little contrast: see `pale` in conftest.py.
(within) => {
    const color = (text) => {
        const found = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
        const scale = text.startsWith("color(") ? 255 : 1;
        return { rgb: found.slice(0, 3).map((one) => one * scale), alpha: found[3] ?? 1 };
    };
    const over = (front, back) => {
        const alpha = front.alpha + back.alpha * (1 - front.alpha);
        const mixed = (one, place) =>
            (one * front.alpha + back.rgb[place] * back.alpha * (1 - front.alpha)) / (alpha || 1);
        return { rgb: front.rgb.map(mixed), alpha };
    };
    const light = ({ rgb }) => {
        const [r, g, b] = rgb.map((one) => one / 255)
            .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    // What is seen where a letter is, and beside it: every element lies over the one around it.
    const seen = (one) => {
        let both = [color(getComputedStyle(one).color), { rgb: [0, 0, 0], alpha: 0 }];
        for (let at = one; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            both = both.map((front) => over(front, color(style.backgroundColor)))
                .map(({ rgb, alpha }) => ({ rgb, alpha: alpha * Number(style.opacity) }));
        }
        return both.map((front) => over(front, { rgb: [255, 255, 255], alpha: 1 }));
    };
    const said = (one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const visible = { checkOpacity: true, checkVisibilityCSS: true };
    return [...document.querySelectorAll(`${within} *`)]
        .filter((one) => said(one) && one.checkVisibility(visible))
        .filter((one) => !one.closest("svg, style, :disabled"))
        .map((one) => {
            const both = seen(one).map(light);
            const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
            return { ratio, text: `${ratio.toFixed(2)}: ${one.textContent.trim().slice(0, 60)}` };
        })
        .filter(({ ratio }) => ratio < 4.5)
        .map(({ text }) => text);
}
