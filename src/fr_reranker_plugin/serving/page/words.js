// Everything the page says, in French and in English.

const plural = (language, count, one, other) =>
  new Intl.PluralRules(language).select(count) === "one" ? one : other;

const french = {
  skip: "Aller aux résultats",
  heading: "Ce que change le reclassement",
  question: "Votre question",
  search: "Chercher",
  keys: "« / » pour écrire, Entrée pour chercher.",
  key: "Clef d’accès",
  settings: "Réglages",
  method: "Première étape",
  hybrid: "par le sens et par les mots",
  dense: "par le sens",
  bm25: "par les mots",
  candidates: "Candidats à reclasser",
  weight: "Ordre de la première étape",
  weightless: "ne compte pas",
  half: "compte pour moitié",
  rows: "Lignes montrées",
  examples: "Questions à essayer",
  latency: "Durées",
  before: "Première étape",
  after: "Après reclassement",
  afterNote: "Score de 0 à 1",
  other: "English",
  otherLanguage: "en",
  loading: "Le modèle se charge…",
  searching: "Recherche…",
  first: "Première étape",
  second: "Reclassement",
  rest: "Réseau et reste",
  milliseconds: (value) => `${value} ms`,
  facts: (count, one) => `${one} ${plural("fr", count, "document", "documents")}`,
  encoder: (name) => `encodeur ${name}`,
  model: (name) => `modèle ${name}`,
  beforeNote: { hybrid: "Par le sens et par les mots", dense: "Par le sens, cosinus", bm25: "Par les mots, BM25" },
  nothing: "La première étape n’a rien trouvé.",
  read: (count, milliseconds) =>
    `${count} ${plural("fr", count, "passage relu", "passages relus")} en ${milliseconds} ms.`,
  ofThese: (shown, moves) => `Dans les ${shown} premiers rangs : ${moves}.`,
  moves: {
    up: (count) => `${count} ${plural("fr", count, "monte", "montent")}`,
    fresh: (count) => `dont ${count} ${plural("fr", count, "nouveau", "nouveaux")}`,
    down: (count) => `${count} ${plural("fr", count, "descend", "descendent")}`,
    still: (count) => `${count} ${plural("fr", count, "reste", "restent")}`,
  },
  fresh: "nouveau",
  gone: "sort",
  up: (places, from) => `monte de ${places} ${plural("fr", places, "place", "places")}, était ${from}`,
  down: (places, from) => `descend de ${places} ${plural("fr", places, "place", "places")}, était ${from}`,
  still: "garde sa place",
  goes: (rank) => `devient ${rank}`,
  rank: (rank) => `Rang ${rank}`,
  score: (score) => `score ${score}`,
  best: (windows) => `Meilleur passage, parmi ${windows} fenêtres lues`,
  bestStart: "début du meilleur passage : ",
  bestEnd: " fin du meilleur passage",
  problems: {
    unreachable: "Le serveur ne répond pas. Vérifiez qu’il tourne, puis cherchez à nouveau.",
    unauthorized: "Ce serveur demande une clef d’accès. Donnez-la, puis cherchez à nouveau.",
    overloaded: "Trop de demandes attendent. Réessayez dans un instant.",
    deadline_exceeded: "La réponse n’est pas venue à temps. Demandez moins de candidats, ou réessayez.",
    not_ready: "Le modèle n’est pas chargé. Réessayez dans un instant.",
    shutting_down: "Le serveur s’arrête.",
    device_lost: "Le serveur a perdu son processeur graphique ; il faut le relancer.",
    too_many_texts: "Ce serveur n’accepte pas autant de candidats. Demandez-en moins dans les réglages.",
    invalid_request: "Le serveur n’a pas compris la demande.",
    other: "Le serveur n’a pas pu répondre.",
  },
};

const english = {
  skip: "Skip to the results",
  heading: "What reranking changes",
  question: "Your question, in French",
  search: "Search",
  keys: "“/” to write, Enter to search.",
  key: "Access key",
  settings: "Settings",
  method: "First stage",
  hybrid: "by meaning and by words",
  dense: "by meaning",
  bm25: "by words",
  candidates: "Candidates to rerank",
  weight: "Order of the first stage",
  weightless: "does not count",
  half: "counts half",
  rows: "Rows shown",
  examples: "Questions to try",
  latency: "Durations",
  before: "First stage",
  after: "After reranking",
  afterNote: "Score from 0 to 1",
  other: "Français",
  otherLanguage: "fr",
  loading: "The model is being loaded…",
  searching: "Searching…",
  first: "First stage",
  second: "Reranking",
  rest: "Network and rest",
  milliseconds: (value) => `${value} ms`,
  facts: (count, one) => `${one} ${plural("en", count, "document", "documents")}`,
  encoder: (name) => `encoder ${name}`,
  model: (name) => `model ${name}`,
  beforeNote: { hybrid: "By meaning and by words", dense: "By meaning, cosine", bm25: "By words, BM25" },
  nothing: "The first stage found nothing.",
  read: (count, milliseconds) =>
    `${count} ${plural("en", count, "passage", "passages")} read again in ${milliseconds} ms.`,
  ofThese: (shown, moves) => `In the first ${shown} ranks: ${moves}.`,
  moves: {
    up: (count) => `${count} moved up`,
    fresh: (count) => `${count} of them new`,
    down: (count) => `${count} moved down`,
    still: (count) => `${count} stayed`,
  },
  fresh: "new",
  gone: "leaves",
  up: (places, from) => `up ${places} ${plural("en", places, "place", "places")}, was ${from}`,
  down: (places, from) => `down ${places} ${plural("en", places, "place", "places")}, was ${from}`,
  still: "keeps its place",
  goes: (rank) => `becomes ${rank}`,
  rank: (rank) => `Rank ${rank}`,
  score: (score) => `score ${score}`,
  best: (windows) => `Best passage, of ${windows} windows read`,
  bestStart: "start of the best passage: ",
  bestEnd: " end of the best passage",
  problems: {
    unreachable: "The server does not answer. Check that it runs, then search again.",
    unauthorized: "This server asks for an access key. Give it, then search again.",
    overloaded: "Too many requests are waiting. Try again in a moment.",
    deadline_exceeded: "The answer did not come in time. Ask for fewer candidates, or try again.",
    not_ready: "The model is not loaded. Try again in a moment.",
    shutting_down: "The server is stopping.",
    device_lost: "The server has lost its graphics processor; it must be started anew.",
    too_many_texts: "This server does not take so many candidates. Ask for fewer in the settings.",
    invalid_request: "The server did not understand the request.",
    other: "The server could not answer.",
  },
};

const words = { fr: french, en: english };

export const firstLanguage = () => {
  const wanted = navigator.languages.find((one) => /^(fr|en)\b/i.test(one)) ?? "en";
  return wanted.slice(0, 2).toLowerCase();
};

/** Give what to say in a language, and how its numbers look. */
export const speaking = (language) => {
  const number = (digits) =>
    new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const formats = [0, 1, 2, 3, 4].map(number);
  return { ...words[language], language, number: (value, digits = 0) => formats[digits].format(value) };
};
