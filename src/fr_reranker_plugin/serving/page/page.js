// A question to the server, and its answer in two lists.

import { drawLines, linkRows } from "./lines.js";
import { make, showAfter, showBefore } from "./results.js";
import { firstLanguage, speaking } from "./words.js";

const LOADING_PAUSE = 2000;
const EXAMPLES = 5;

const the = (id) => document.getElementById(id);
const state = { say: speaking(firstLanguage()), facts: null, answer: null, problem: null, status: () => "", asking: null };

class Problem extends Error {
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

const call = async (path, options = {}) => {
  const key = the("key").value;
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("unreachable");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(body.code ?? "other", body.message);
  return body;
};

const showStatus = (status) => {
  state.status = status;
  the("status").textContent = status(state.say);
};

const showProblem = (problem) => {
  state.problem = problem;
  the("problem").hidden = problem === null;
  if (problem === null) return;
  const { problems } = state.say;
  const details = problem.message ? [make("p", { class: "small", lang: "en" }, problem.message)] : [];
  the("problem").replaceChildren(make("p", {}, problems[problem.code] ?? problems.other), ...details);
  the("key-line").hidden = problem.code !== "unauthorized" && the("key").value === "";
};

const showFacts = () => {
  if (state.facts === null) return;
  const { documents, model, encoder } = state.facts;
  const { say } = state;
  const parts = [say.facts(documents, say.number(documents)), say.encoder(encoder), say.model(model)];
  the("facts").textContent = parts.join(" · ");
};

const showExamples = () => {
  const questions = [...state.facts.questions].sort((one, other) => one.length - other.length).slice(0, 4 * EXAMPLES);
  const spread = questions.filter((_, place) => place % 4 === 3);
  the("examples").hidden = spread.length === 0;
  the("questions").replaceChildren(...spread.map((question) => {
    const button = make("button", { type: "button", class: "plain" }, question);
    button.addEventListener("click", () => {
      write(question);
      the("question").focus();
      ask();
    });
    return make("li", {}, button);
  }));
};

const showDurations = ({ seconds, total }) => {
  const { say } = state;
  const phases = [
    ["first", seconds.first_stage * 1000],
    ["second", seconds.reranking * 1000],
    ["rest", Math.max(0, total - (seconds.first_stage + seconds.reranking) * 1000)],
  ];
  the("durations").replaceChildren(...phases.map(([name, value]) =>
    make("div", { class: name }, make("dt", {}, say[name]), make("dd", {}, say.milliseconds(say.number(value, value < 10 ? 1 : 0))))));
  for (const [name, value] of phases) the(`phase-${name}`).style.flexGrow = String(value);
};

const summary = ({ results, rows, total }) => (say) => {
  if (results.length === 0) return say.nothing;
  const shown = results.slice(0, rows);
  const tests = {
    up: (one) => one.found_at > one.rank,
    fresh: (one) => one.found_at > rows,
    down: (one) => one.found_at < one.rank,
    still: (one) => one.found_at === one.rank,
  };
  const counts = Object.entries(tests).map(([name, test]) => [name, shown.filter(test).length]);
  const moves = counts.filter(([, count]) => count > 0).map(([name, count]) => say.moves[name](count));
  return `${say.read(results.length, say.number(total))} ${say.ofThese(shown.length, moves.join(", "))}`;
};

const showLines = () => drawLines(the("lines"), the("before"), the("after"));

const showAnswer = () => {
  const { answer, say } = state;
  the("results").hidden = answer === null || answer.results.length === 0;
  if (the("results").hidden) return;
  the("before-note").textContent = say.beforeNote[answer.method];
  showBefore(the("before"), answer.results, answer.rows, say);
  showAfter(the("after"), answer.results, answer.rows, say);
  showDurations(answer);
  showLines();
};

const write = (question) => {
  the("question").value = question;
  fit();
};

/** Make the field as high as what stands in it, where the browser does not do so by itself. */
const fit = () => {
  if (CSS.supports("field-sizing", "content")) return;
  const { style } = the("question");
  style.blockSize = "auto";
  style.blockSize = `${the("question").scrollHeight + 2}px`;
};

const ask = async () => {
  if (!the("ask").reportValidity()) return;
  const query = the("question").value.trim();
  const candidates = Number(the("candidates").value);
  const [method, rows] = [the("method").value, Number(the("rows").value)];
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  history.replaceState(null, "", `#q=${encodeURIComponent(query)}`);
  showProblem(null);
  the("lists").setAttribute("aria-busy", "true");
  try {
    if (state.facts === null) await loadFacts(asking.signal);
    showStatus((say) => say.searching);
    const started = performance.now();
    const weight = Number(the("weight").value);
    const body = JSON.stringify({ query, method, candidates, top_k: candidates, first_stage_weight: weight });
    const answer = await call("retrieve", { method: "POST", body, signal: asking.signal });
    state.answer = { ...answer, method, rows, total: performance.now() - started };
    the("examples").open = false;
    showAnswer();
    showStatus(summary(state.answer));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    state.answer = null;
    showAnswer();
    showStatus(() => "");
    showProblem(error);
  } finally {
    if (state.asking === asking) the("lists").removeAttribute("aria-busy");
  }
};

/** Learn what is searched, which decides the weight of the first stage; wait where the model is being loaded. */
const loadFacts = async (signal) => {
  let facts = null;
  while (facts === null) {
    try {
      facts = await call("index", { signal });
    } catch (error) {
      if (error.code !== "not_ready") throw error;
      showStatus((say) => say.loading);
      await new Promise((resume) => setTimeout(resume, LOADING_PAUSE));
    }
  }
  // A question that was asked meanwhile may have been first.
  if (state.facts !== null) return;
  state.facts = facts;
  the("weight").value = String(facts.first_stage_weight);
  showFacts();
  showExamples();
};

const begin = async () => {
  try {
    await loadFacts();
    if (state.asking === null) showStatus(() => "");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(error);
  }
  askFromAddress();
};

const speak = (language) => {
  state.say = speaking(language);
  document.documentElement.lang = language;
  document.title = `${state.say.heading} · fr-reranker`;
  for (const element of document.querySelectorAll("[data-words]")) element.textContent = state.say[element.dataset.words];
  the("language").textContent = state.say.other;
  the("language").lang = state.say.otherLanguage;
  showFacts();
  showAnswer();
  showStatus(state.status);
  showProblem(state.problem);
};

const askFromAddress = () => {
  const question = new URLSearchParams(location.hash.slice(1)).get("q");
  if (!question || question === the("question").value.trim()) return;
  write(question);
  ask();
};

const listen = () => {
  the("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  the("question").addEventListener("input", fit);
  the("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    the("question").focus();
    the("question").select();
  });
  the("language").addEventListener("click", () => speak(state.say.otherLanguage));
  addEventListener("hashchange", askFromAddress);
  linkRows(the("lists"));
  new ResizeObserver(showLines).observe(the("lists"));
};

listen();
speak(state.say.language);
await begin();
