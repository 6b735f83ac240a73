/** Builds elements. All text goes through textContent, so nothing that a user wrote is ever read as HTML. */

/**
 * Returns a new element. `properties` are attributes; functions under `on…` become listeners; null and false leave an
 * attribute out. Children are nodes, strings, or arrays of them; null and false are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  setProperties(element, properties);
  element.append(...flat(children));
  return element;
}

/** Returns a new SVG element, with the same rules as `h`. */
export function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setProperties(element, properties);
  element.append(...flat(children));
  return element;
}

function setProperties(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replaces what is inside an element. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

let hideTimer = 0;

/** Shows a short message at the bottom; screen readers read it. */
export function say(text) {
  const messages = document.getElementById("messages");
  messages.textContent = text;
  clearTimeout(hideTimer);
  hideTimer = setTimeout(() => (messages.textContent = ""), 6000);
}

/** Asks for a confirmation in a dialog; resolves to true when the user agrees. */
export function confirmed(title, sentence, verb, { isDangerous = true } = {}) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "dialog-title", onclose: () => (resolve(dialog.returnValue === "yes"), dialog.remove()) },
      h("form", { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", {}, sentence),
        h("menu", {},
          h("button", { value: "no", autofocus: true }, isDangerous ? "Keep it" : "Not now"),
          h("button", { value: "yes", class: isDangerous ? "danger" : "primary" }, verb))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A table with a heading; wide ones scroll inside their own region. */
export function table(title, head, rows, { isTitled = true, level = "h2" } = {}) {
  return h("section", {}, isTitled ? h(level, {}, title) : null,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name || h("span", { class: "hidden" }, "name"))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, value))))))));
}

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Returns a <time> in the reader's own zone; today's times have no date. */
export function time(iso) {
  if (!iso) return "–";
  const date = new Date(iso);
  const isToday = date.toDateString() === new Date().toDateString();
  return h("time", { datetime: iso, title: DATE.format(date) }, (isToday ? TIME : DATE).format(date));
}

/** Returns a duration in seconds as text: 0.4 s, 2 min 5 s, 3 h 20 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Returns an amount in USD; small amounts keep their digits. */
export function money(usd) {
  if (usd === null || usd === undefined) return "–";
  return usd === 0 ? "$0" : usd < 0.01 ? `$${usd.toPrecision(2)}` : `$${usd.toFixed(2)}`;
}

export function badge(status) {
  return h("span", { class: `badge ${status}` }, status);
}
