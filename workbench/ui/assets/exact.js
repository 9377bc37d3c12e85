// Lossless frames: loaded when it stands still, for pixel values and the difference.
let loading = null;

// One round of requests at a time, always for the newest frame.
function loadExact() {
  if (!clip()) return Promise.resolve();
  loading ??= fetchExact().finally(() => { loading = null; });
  return loading;
}

async function fetchExact() {
  for (let isDone = false; !isDone;) {
    const { frame } = state, shown = store.shown[0];
    const missing = onStage().filter((source) => canBeExact(source) && state.exact.get(source)?.frame !== frame);
    const pictures = await Promise.all(missing.map((source) => exactPicture(source, frame)));
    isDone = frame === state.frame && shown === store.shown[0];
    if (isDone) missing.forEach((source, index) => pictures[index] && keepExact(source, frame, pictures[index]));
    isDone &&= missing.every((source, index) => !pictures[index] || state.exact.get(source)?.frame === frame);
  }
  render();
}

async function exactPicture(source, index) {
  const isOriginal = source === ORIGINAL, card = isOriginal ? store.shown[0] : source;
  const reply = await ask("frame", { card, index, is_original: isOriginal }, (why) => { part("values").textContent = why; });
  return reply && decoded(reply.picture);
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function keepExact(source, frame, picture) {
  const { width, height } = clip(), canvas = layer(source)?.querySelector("canvas");
  if (!canvas) return;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  state.exact.set(source, { frame, data: context.getImageData(0, 0, width, height).data });
}

// Dark to bright over purple, red and orange, told apart by lightness alone; and blue over grey to red for signs.
const HEAT_STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const SIGN_STOPS = [[58, 160, 255], [24, 62, 110], [20, 20, 20], [120, 40, 24], [255, 130, 80]];

const colours = (stops) => Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (stops.length - 1), index = Math.min(Math.floor(place), stops.length - 2);
  return stops[index].map((low, c) => Math.round(low + (place - index) * (stops[index + 1][c] - low)));
});
const HEAT = colours(HEAT_STOPS), SIGNS = colours(SIGN_STOPS);

// B less A, averaged over R, G and B and amplified, as colours: its size, or with its sign.
function drawHeat() {
  const { width, height } = clip(), gain = Number(part("gain").value), isSigned = part("signed").checked;
  const a = exactOf(store.a).data, b = exactOf(store.b).data, canvas = part("heat");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height), { data } = picture;
  for (let i = 0; i < a.length; i += 4) {
    const steps = [b[i] - a[i], b[i + 1] - a[i + 1], b[i + 2] - a[i + 2]];
    const size = Math.abs(steps[0]) + Math.abs(steps[1]) + Math.abs(steps[2]);
    const level = isSigned ? 127.5 + (gain * (steps[0] + steps[1] + steps[2])) / 6 : (gain * size) / 3;
    const colour = (isSigned ? SIGNS : HEAT)[clamp(Math.round(level), 0, 255)];
    data[i] = colour[0];
    data[i + 1] = colour[1];
    data[i + 2] = colour[2];
    data[i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

function showValues() {
  const hasValues = onStage().some(canBeExact);
  part("values").dataset.hint = hasValues ? "Point at the picture for exact values; ? lists the keys."
    : "Exact values come with results of your own: press Reconstruct. ? lists the keys.";
  if (!hasValues) part("values").textContent = "";
  if (!state.pixel || !hasValues) return;
  const [x, y] = state.pixel, where = `x ${x}, y ${y}`, known = onStage().filter(exactOf);
  if (!known.length) {
    part("values").textContent = state.playing ? `${where}: pause for exact values` : where;
    return;
  }
  const at = 4 * (y * clip().width + x), first = [...exactOf(known[0]).data.slice(at, at + 3)];
  const words = known.map((source, index) => {
    const values = [...exactOf(source).data.slice(at, at + 3)], less = values.map((value, c) => value - first[c]);
    const signed = less.map((value) => (value > 0 ? `+${value}` : `${value}`)).join(" ").replaceAll("-", "−");
    return `${labelOf(source)} ${values.join(" ")}${index ? `, difference ${signed}` : ""}`;
  });
  part("values").textContent = `${where}: ${words.join("; ")}`;
}
