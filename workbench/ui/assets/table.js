// The table: all metrics of all results, and the files of each.
bench.table = (element) => {
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  const draw = () => {
    const cards = store.cards.filter((card) => resultOf(card.id));
    part("table").hidden = !cards.length;
    if (cards.length) part("rows").replaceChildren(...rows(cards, part("which").value));
    part("notes").replaceChildren(...notes(cards));
  };
  element.addEventListener("change", draw);
  element.addEventListener("click", async ({ target }) => {
    const { file } = target.dataset;
    if (!file) return;
    part("note").textContent = "Being written.";
    let refused = "";
    const reply = await ask("bundle", { cards: file === "grid" ? store.shown : null }, (why) => { refused = why; });
    part("note").textContent = refused;
    if (reply) save(reply[file]);
  });
  let drawn = "";
  listen(() => {
    const now = JSON.stringify([store.cards.map((card) => [card.id, card.text, resultOf(card.id)?.version]), store.shown]);
    if (drawn !== now) draw();
    drawn = now;
  });
};

const save = (path) => make("a", { href: fileUrl(path), download: path.split("/").at(-1) }).click();
const COSTS = [["compression", "Values in : out", 3], ["encode_total_s", "Encode s", 3], ["decode_total_s", "Decode s", 3], ["work", "Work ×", 3]];
const digits = (value, count = 4) => (value === undefined || value === null ? "–" : Number(value.toPrecision(count)).toString());

function rows(cards, which) {
  const results = cards.map((card) => resultOf(card.id));
  const metrics = [...new Map(results.flatMap((result) => result.metrics.map((metric) => [metric.name, metric]))).values()];
  const head = make("tr", {}, make("th", { scope: "col" }, "Result"), ...metrics.map(({ label, unit, higher }) =>
    make("th", { scope: "col" }, `${label} `, make("small", {}, `${unit} ${higher ? "↑" : "↓"}`))),
  ...COSTS.map(([, words]) => make("th", { scope: "col" }, words)));
  const best = new Map(metrics.map(({ name, higher }) => [name, bestOf(results, name, higher, which)]));
  return [make("thead", {}, head), make("tbody", {}, ...cards.map((card) => row(card, metrics, best, which)))];
}

// The best value among results of the same frames, where there are several.
function bestOf(results, name, higher, which) {
  const values = results.filter((result) => result.subject === results.at(-1).subject)
    .map((result) => result.metrics.find((metric) => metric.name === name)?.[which]).filter((value) => value !== undefined);
  return values.length > 1 ? Math[higher ? "max" : "min"](...values) : null;
}

function row(card, metrics, best, which) {
  const result = resultOf(card.id), index = store.shown.indexOf(card.id);
  const name = make("th", { scope: "row", "data-colour": index < 0 ? null : index }, make("b", {}, result.label),
    make("small", {}, `${result.clip} · ${result.detail}${card.is_shipped ? " · shipped" : ""}`));
  const values = metrics.map((metric) => {
    const value = result.metrics.find((one) => one.name === metric.name)?.[which];
    const isComing = value === undefined && card.text && metric.name === "lpips";
    return make("td", { class: value !== undefined && value === best.get(metric.name) ? "best" : null, title: isComing ? card.text : null },
      isComing ? "…" : digits(value));
  });
  const costs = COSTS.map(([key, , count]) => make("td", {}, digits(result.costs[key], count)));
  return make("tr", {}, name, ...values, ...costs);
}

// What the table means; then of each result its settings, notes and files.
function notes(cards) {
  const always = "Metrics are taken on the frames themselves; videos are compressed once more for the browser. Arrows point to "
    + "the better side; the best of the newest results of one clip is set in bold.";
  const own = cards.map((card) => {
    const { label, facts, notes: lines, downloads } = resultOf(card.id), said = card.is_shipped ? [] : Object.entries(facts);
    const words = [...said.map(([name, text]) => `${name}: ${text}`), ...lines].join(" · ");
    const files = downloads.map(({ label: name, path }) =>
      make("a", { href: fileUrl(path), download: path.split("/").at(-1) }, name));
    const index = store.shown.indexOf(card.id);
    return make("p", { "data-colour": index < 0 ? null : index, "data-of": label }, make("b", {}, label), ` ${words} `, ...files);
  });
  return [make("p", {}, always), ...own];
}
