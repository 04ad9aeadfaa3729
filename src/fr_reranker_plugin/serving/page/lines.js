// The lines between the two lists: from where a document was to where it is. Seen only; the lists say it in words.

const MARGIN = 12;
const SVG = "http://www.w3.org/2000/svg";

const heightOf = (row, top) => {
  const box = row.querySelector(".rank").getBoundingClientRect();
  return box.top + box.height / 2 - top;
};

const line = (kind, place, width, from, to) => {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", kind);
  path.dataset.place = place;
  const [left, middle, right] = [MARGIN, width / 2, width - MARGIN];
  path.setAttribute("d", `M${left} ${from}C${middle} ${from} ${middle} ${to} ${right} ${to}`);
  return path;
};

/** Draw the lines anew; where the lists stand one above the other there are none. */
export const drawLines = (svg, before, after) => {
  const { top, width, height } = svg.getBoundingClientRect();
  svg.replaceChildren();
  if (width === 0) return;
  const starts = new Map([...before.children].map((row) => [row.dataset.place, heightOf(row, top)]));
  const rows = [...before.children];
  [...after.children].forEach((row, position) => {
    const { place } = row.dataset;
    const end = heightOf(row, top);
    const rank = position + 1;
    const isFresh = !starts.has(place);
    const kind = isFresh ? "up new" : Number(place) > rank ? "up" : Number(place) < rank ? "down" : "still";
    const start = isFresh ? rows.length && rows.at(-1).getBoundingClientRect().bottom - top : starts.get(place);
    svg.append(line(kind, place, width, start, end));
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
};

/** Make a document stand out in both lists while it is pointed at or holds the focus. */
export const linkRows = (lists) => {
  const mark = (event) => {
    const place = event.target.closest?.("[data-place]")?.dataset.place;
    for (const one of lists.querySelectorAll("[data-place]")) one.classList.toggle("linked", one.dataset.place === place);
  };
  const clear = () => lists.querySelectorAll(".linked").forEach((one) => one.classList.remove("linked"));
  lists.addEventListener("pointerover", mark);
  lists.addEventListener("focusin", mark);
  lists.addEventListener("pointerleave", clear);
  lists.addEventListener("focusout", clear);
};
