// The shelf: a card for every result, and for every job that waits or runs, newest first.
bench.shelf = (element, server) => {
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  store.server = server;
  listen(() => {
    const cards = store.cards.map(upToDate).reverse(), list = part("cards");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset : null;
    if (cards.length !== list.children.length || cards.some((box, index) => box !== list.children[index])) list.replaceChildren(...cards);
    if (focused?.card) list.querySelector(`[data-card="${focused.card}"][data-do="${focused.do}"]`)?.focus();
    const { gone, said } = store;
    const full = gone && `${gone} older ${gone === 1 ? "result" : "results"} had to go: the shelf was full.`;
    part("note").textContent = [said, full].filter(Boolean).join(" ");
  });
  element.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do]"), { card, do: what } = button?.dataset ?? {};
    if (what === "show") toggleShown(card);
    if (what === "remove") removeCard(card);
  });
  document.addEventListener("visibilitychange", () => document.hidden || look());
  look();
};

const boxes = new Map(); // by card: its element, and what that was drawn from

// The card's element, drawn anew only where more has changed than how far its job is: a click needs it to stay.
function upToDate(card) {
  const from = JSON.stringify([card.state, resultOf(card.id)?.version, store.shown.indexOf(card.id), isActive(card) || card.text]);
  if (boxes.get(card.id)?.from !== from) boxes.set(card.id, { from, box: drawn(card) });
  const { box } = boxes.get(card.id), bar = box.querySelector("progress");
  if (bar) Object.assign(bar, { value: card.share });
  if (bar) box.querySelector("small").textContent = `${card.clip} · ${card.text}`;
  return box;
}

function drawn(card) {
  const result = resultOf(card.id), index = store.shown.indexOf(card.id);
  const box = make("div", { class: `card ${card.state}${card.is_shipped ? " shipped" : ""}`, role: "listitem", "data-colour": index < 0 ? null : index });
  box.append(result ? face(card, result, index >= 0) : make("div", { class: "card-text" }, title(card), status(card)));
  const what = isActive(card) ? "Cancel" : "Remove";
  const remove = make("button", {
    type: "button", class: "card-remove", "data-do": "remove", "data-card": card.id, "aria-label": `${what} ${card.label}`,
  }, isActive(card) ? "Cancel" : "✕");
  if (!card.is_shipped) box.append(remove);
  return box;
}

// With the number that chooses it by key, where the player shows it.
function title(card) {
  const index = store.shown.indexOf(card.id);
  return make("b", { title: card.label }, ...(index < 0 ? [] : [make("i", { title: `Key ${index + 1}` }, index + 1)]), card.label);
}

function face(card, result, isShown) {
  const mean = (name) => result.metrics.find((metric) => metric.name === name)?.mean;
  const psnr = mean("psnr"), lpips = mean("lpips");
  const figures = [psnr && `${psnr.toFixed(2)} dB`, lpips !== undefined && `LPIPS ${lpips.toFixed(3)}`].filter(Boolean);
  const seconds = result.costs.encode_total_s + result.costs.decode_total_s;
  const cost = card.is_shipped ? "shipped example" : card.text || `coded in ${seconds.toFixed(1)} s`;
  return make(
    "button",
    { type: "button", class: "card-face", "data-do": "show", "data-card": card.id, "aria-pressed": isShown,
      title: `${isShown ? "Take out of" : "Show in"} the player` },
    make("img", { src: fileUrl(result.thumbnail), alt: "" }),
    make("span", { class: "card-text" }, title(card), make("span", { class: "card-figures" }, figures.join(" · ")),
      make("small", {}, `${result.clip} · ${result.detail} · ${cost}`)),
  );
}

function status(card) {
  if (card.state === "failed") return make("span", { class: "card-error", role: "alert" }, card.text);
  const bar = make("progress", { max: 1, value: card.share, "aria-label": `${card.label}: share done` });
  return make("span", {}, bar, make("small", { role: "status" }, `${card.clip} · ${card.text}`));
}
