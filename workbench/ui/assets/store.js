// What the page knows: the visitor's cards, their results, and which of them the player shows. Every other script reads
// it from here, changes it by the functions below, and is told by `listen`.
const ORIGINAL = "original";
const MOST_SHOWN = 4;
const bench = window.workbench = {};
const store = {
  server: null, // the functions of ui/shelf.py
  cards: [], // {id, state, version, share, text, label, clip}, oldest first
  results: new Map(), // by card: what ui/cards.py sends, and the version
  shown: [], // cards in the player, at most four, of one subject
  a: ORIGINAL, b: null, // the two that are compared
  gone: 0,
  said: "", // of what left the player for something new
};
const listeners = [];
const listen = (listener) => listeners.push(listener);
const tell = () => listeners.forEach((listener) => listener());

const fileUrl = (path) => new URL(`gradio_api/file=${path}`, document.baseURI).href;
const resultOf = (card) => store.results.get(card);
const subject = () => resultOf(store.shown[0]);
const isActive = (card) => card.state === "waiting" || card.state === "running";
const labelOf = (source) => (source === ORIGINAL ? ORIGINAL : nameOf(source));

// A card's label, with its settings where another card of the same model is shown beside it.
function nameOf(card) {
  const label = resultOf(card)?.label ?? "", same = store.shown.filter((other) => resultOf(other)?.label === label);
  return same.length > 1 ? `${label} (${same.indexOf(card) + 1})` : label;
}

// What the server says; null, and the reason told to `refused`, where it does not.
async function ask(name, request, refused = () => {}) {
  let reply;
  try {
    reply = await store.server[name](request);
  } catch {
    reply = { error: "The server does not answer." };
  }
  if (reply.error) refused(reply.error);
  return reply.error ? null : reply;
}

let timer = null;

// Ask for the cards now, and again soon where one is at work.
async function look() {
  clearTimeout(timer);
  const reply = await ask("cards", {});
  if (reply) await take(reply);
  const isBusy = store.cards.some((card) => isActive(card) || card.text);
  timer = setTimeout(look, document.hidden ? 5000 : isBusy ? 400 : 20000);
}

async function take({ cards, gone }) {
  const known = new Set(store.cards.map((card) => card.id)), isFirst = !store.cards.length;
  store.gone = gone;
  store.cards = cards;
  for (const card of cards) {
    if (card.state !== "done" || resultOf(card.id)?.version === card.version) continue;
    const isNew = !resultOf(card.id), result = await ask("result", { card: card.id });
    if (!result) continue;
    store.results.set(card.id, { ...result, version: card.version });
    if (isNew && !isFirst) arrive(card.id);
  }
  const here = new Set(cards.map((card) => card.id));
  for (const card of known) if (!here.has(card)) forget(card);
  if (!store.shown.length) showNewest();
  tell();
}

// A new result goes into the player: beside those of the same frames, or instead of all others.
function arrive(card) {
  const beside = subject()?.subject === resultOf(card).subject, isFull = beside && store.shown.length === MOST_SHOWN;
  const leaves = isFull ? store.shown.find((shown) => shown !== store.a && shown !== store.b) : null;
  store.said = isFull ? `The player takes ${MOST_SHOWN} results: ${nameOf(leaves)} made room for ${resultOf(card).label}.` : "";
  if (beside) store.shown = [...store.shown.filter((shown) => shown !== leaves), card];
  else Object.assign(store, { shown: [card], a: ORIGINAL, b: card });
  settle();
}

function showNewest() {
  const done = store.cards.filter((card) => resultOf(card.id)), newest = done.at(-1);
  if (!newest) return;
  const same = done.filter((card) => resultOf(card.id).subject === resultOf(newest.id).subject);
  store.shown = same.map((card) => card.id).slice(-MOST_SHOWN);
  Object.assign(store, { a: ORIGINAL, b: newest.id });
}

function forget(card) {
  store.results.delete(card);
  store.shown = store.shown.filter((other) => other !== card);
  settle();
}

// A and B are among those that are shown.
function settle() {
  const { shown } = store;
  if (!shown.includes(store.b)) store.b = shown.find((card) => card !== store.a) ?? shown[0] ?? null;
  if (store.a !== ORIGINAL && (!shown.includes(store.a) || store.a === store.b)) store.a = ORIGINAL;
}

function toggleShown(card) {
  if (!resultOf(card)) return;
  if (!store.shown.includes(card)) {
    arrive(card);
    store.b = card;
  } else if (store.shown.length > 1) {
    store.said = "";
    store.shown = store.shown.filter((other) => other !== card);
  }
  settle();
  tell();
}

// A ("a") or B ("b") by what it is: the original or a card. The two change places where it is the other one already.
function choose(side, source) {
  if (source === undefined || (source !== ORIGINAL && !store.shown.includes(source))) return;
  const other = side === "a" ? "b" : "a";
  if (store[other] === source) store[other] = store[side];
  store[side] = source;
  tell();
}

async function removeCard(card) {
  store.cards = store.cards.filter((other) => other.id !== card);
  forget(card);
  if (!store.shown.length) showNewest();
  tell();
  await ask("remove", { card });
  look();
}

// An element, with attributes, text and children.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A job was put on the shelf, which on a phone is below what was pressed.
bench.started = () => {
  look();
  if (window.matchMedia("(max-width: 860px)").matches) document.querySelector("#shelf").scrollIntoView();
};
