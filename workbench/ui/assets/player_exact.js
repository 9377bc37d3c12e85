// Lossless frames: loaded when it stands still, for pixel values and the difference.
let loading = null;

// One request at a time, always for the newest frame.
function loadExact() {
  if (!clip()?.job) return Promise.resolve();
  loading ??= fetchExact().finally(() => { loading = null; });
  return loading;
}

async function fetchExact() {
  for (let done = false; !done;) {
    const { frame } = state, { job } = clip();
    const reply = await ask("frame_pair", { job, frame });
    if (!reply) return;
    const pictures = await Promise.all([reply.original, reply.output].map(decoded));
    done = frame === state.frame && job === clip()?.job;
    if (done) draw(frame, pictures);
  }
}

// What the server says, or null, when it is told why.
async function ask(name, request) {
  let reply;
  try {
    reply = await server[name](request);
  } catch {
    reply = { error: "The server does not answer." };
  }
  if (reply.error) part("values").textContent = reply.error;
  return reply.error ? null : reply;
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function draw(frame, pictures) {
  const { width, height } = clip();
  const values = ["original", "output"].map((name, index) => {
    const canvas = part(`${name}-exact`);
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(pictures[index], 0, 0);
    return context.getImageData(0, 0, width, height).data;
  });
  state.exact = { frame, values };
  render();
}

// Dark to bright over purple, red and orange, told apart by lightness alone.
const HEAT_STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const HEAT = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (HEAT_STOPS.length - 1), index = Math.min(Math.floor(place), HEAT_STOPS.length - 2);
  return HEAT_STOPS[index].map((low, c) => Math.round(low + (place - index) * (HEAT_STOPS[index + 1][c] - low)));
});

// The absolute difference, averaged over R, G and B and amplified, as colours.
function drawHeat() {
  const { width, height } = clip(), gain = Number(part("gain").value), [a, b] = state.exact.values;
  const canvas = part("heat");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height), { data } = picture;
  for (let i = 0; i < a.length; i += 4) {
    const sum = Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]);
    const colour = HEAT[Math.min(255, Math.round((gain * sum) / 3))];
    data[i] = colour[0];
    data[i + 1] = colour[1];
    data[i + 2] = colour[2];
    data[i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

function showValues() {
  if (!state.pixel) return;
  const [x, y] = state.pixel, where = `x ${x}, y ${y}`;
  if (!isExact()) {
    part("values").textContent = state.playing ? `${where}: pause for exact values` : where;
    return;
  }
  const at = 4 * (y * clip().width + x);
  const [original, output] = state.exact.values.map((values) => [...values.slice(at, at + 3)]);
  const difference = output.map((value, c) => value - original[c]).map((value) => (value > 0 ? `+${value}` : `${value}`));
  part("values").textContent = `${where}: original ${original.join(" ")}, reconstruction ${output.join(" ")}, `
    + `difference ${difference.join(" ").replaceAll("-", "−")}`;
}
