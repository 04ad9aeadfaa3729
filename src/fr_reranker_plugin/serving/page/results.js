// Two lists of the same documents. Texts come from anywhere, so they only ever become text nodes.

const LONG_FIRST_LINE = 140;
const BEFORE_THE_PASSAGE = 60;

/** Make an element; a string child becomes text. */
export const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

/** Keep French punctuation from starting a line. */
const bound = (text) => text.replace(/ (?=[:;!?»])/g, "\u00a0");

const unseen = (text) => make("span", { class: "unseen" }, text);

/** Part a document into its title, its text, and the best passage where it was read in windows.
 *
 * The server counts in characters, JavaScript in halves of them: an emoji would shift everything behind it.
 */
export const parted = (one) => {
  const characters = Array.from(one.text);
  const lineEnd = characters.indexOf("\n");
  const given = typeof one.metadata.title === "string" ? one.metadata.title : "";
  const isTitled = lineEnd > 0 && (given ? one.text.startsWith(`${given}\n`) : lineEnd <= LONG_FIRST_LINE);
  const from = isTitled ? lineEnd + 1 : 0;
  const title = given || (isTitled ? characters.slice(0, lineEnd).join("") : one.id);
  const best = one.best_passage;
  const isMarked = best !== undefined && best.windows > 1 && best.end > Math.max(best.start, from);
  const start = isMarked ? Math.max(best.start, from) : characters.length;
  const end = isMarked ? best.end : characters.length;
  const text = (...range) => characters.slice(...range).join("");
  return { title, before: text(from, start), marked: text(start, end), behind: text(end), windows: best?.windows };
};

const excerpt = (parts) => {
  const { before } = parts;
  if (!parts.marked || before.length <= BEFORE_THE_PASSAGE) return { ...parts };
  const near = before.slice(-BEFORE_THE_PASSAGE);
  return { ...parts, before: `… ${near.slice(near.indexOf(" ") + 1)}` };
};

const textOf = (parts, say) => {
  const children = [parts.before];
  if (parts.marked) children.push(make("mark", {}, unseen(say.bestStart), parts.marked, unseen(say.bestEnd)));
  return [...children, parts.behind];
};

const body = (one, id, say, { marked }) => {
  const parts = parted(one);
  const whole = marked ? parts : { ...parts, before: parts.before + parts.marked, marked: "" };
  const short = excerpt(whole);
  const text = make("p", { class: "text", id, lang: "fr" }, ...textOf(short, say));
  const title = make("button", { type: "button", "aria-expanded": "false", "aria-controls": id, lang: "fr" }, bound(parts.title));
  title.addEventListener("click", () => {
    const isOpen = title.getAttribute("aria-expanded") === "false";
    title.setAttribute("aria-expanded", String(isOpen));
    text.classList.toggle("open", isOpen);
    text.replaceChildren(...textOf(isOpen ? whole : short, say));
  });
  const caption = marked && parts.marked ? [make("p", { class: "caption" }, say.best(say.number(parts.windows)))] : [];
  return make("div", { class: "body" }, make("h3", {}, title), ...caption, text);
};

const move = (one, rows, say) => {
  const places = one.found_at - one.rank;
  const from = say.number(one.found_at);
  const size = say.number(Math.abs(places));
  if (places === 0) return make("span", { class: "move" }, make("span", { "aria-hidden": "true" }, "="), unseen(say.still));
  const [kind, arrow] = places > 0 ? ["up", "▲"] : ["down", "▼"];
  const shown = make("span", { class: `move ${kind}` }, make("span", { "aria-hidden": "true" }, arrow + size));
  shown.append(unseen(say[kind](size, from)));
  if (one.found_at > rows) shown.append(make("span", { class: "fresh" }, say.fresh));
  return shown;
};

const place = (rank, say, ...more) =>
  make("div", { class: "place" }, unseen(say.rank(say.number(rank))),
    make("span", { class: "rank", "aria-hidden": "true" }, say.number(rank)), ...more);

const score = (value, digits, say) => {
  const shown = say.number(value, digits);
  return make("p", { class: "score" }, unseen(say.score("")), shown);
};

const digitsOf = (values) => (Math.max(...values.map(Math.abs)) < 0.1 ? 4 : 2);

export const showBefore = (list, found, rows, say) => {
  const digits = digitsOf(found.map((one) => one.found_with));
  const inOrder = [...found].sort((one, other) => one.found_at - other.found_at).slice(0, rows);
  list.replaceChildren(...inOrder.map((one) => {
    const rank = say.number(one.rank);
    const goes = make("span", { class: "move" }, make("span", { "aria-hidden": "true" }, `→ ${rank}`), unseen(say.goes(rank)));
    if (one.rank > rows) goes.append(make("span", { class: "fresh" }, say.gone));
    return make("li", { "data-place": one.found_at }, place(one.found_at, say),
      body(one, `before-${one.found_at}`, say, { marked: false }),
      make("div", { class: "figures" }, score(one.found_with, digits, say), goes));
  }));
};

export const showAfter = (list, found, rows, say) => {
  list.replaceChildren(...found.slice(0, rows).map((one) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.inlineSize = `${Math.min(1, Math.max(0, one.score)) * 100}%`;
    return make("li", { "data-place": one.found_at }, place(one.rank, say),
      body(one, `after-${one.rank}`, say, { marked: true }),
      make("div", { class: "figures" }, score(one.score, 3, say), bar, move(one, rows, say)));
  }));
};
