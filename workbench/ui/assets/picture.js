// The player's own state: what is on the stage and how it is looked at. Sources are the original and cards.
const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const state = {
  view: "wipe", // or "flicker", "difference", "side"
  wipe: 50, // percent of the stage that shows A
  showsB: true, // which of the two the flicker shows
  zoom: 1, left: 0, top: 0, // of every picture, in pixels of the page
  pixel: null, // [x, y] under the pointer or the marker
  frame: 0,
  playing: false,
  once: false, // whether it stops at the end, instead of beginning again
  loop: null, // [first, last] frame
  exact: new Map(), // by source: {frame, data} of its lossless picture
  metric: "psnr", // whose curves are drawn
};

let player = null; // the element
const part = (name) => player.querySelector(`[data-part="${name}"]`);
const clip = () => subject();
const isVideo = () => Boolean(clip()) && !clip().is_image;
const lastFrame = () => clip().num_frames - 1;
const sources = () => [ORIGINAL, ...store.shown];

// What is on the stage, the first of which the others follow in time.
const onStage = () => (state.view === "side" ? sources() : [store.a, store.b]);
const canBeExact = (source) => resultOf(source === ORIGINAL ? store.shown[0] : source)?.is_exact;
const isStill = () => !state.playing || state.view === "difference";
const exactOf = (source) => (state.exact.get(source)?.frame === state.frame && isStill() ? state.exact.get(source) : null);

// One box for every source: its video, and a canvas for lossless frames over it. They stay as they are when views change.
function layers() {
  const holder = part("layers"), wanted = sources(), { is_image, original } = clip();
  for (const box of [...holder.children]) if (!wanted.includes(box.dataset.source)) box.remove();
  wanted.forEach((source, index) => {
    const file = source === ORIGINAL ? original : resultOf(source).output, found = layer(source);
    if (found?.dataset.file === file) {
      found.dataset.colour = index - 1;
      return;
    }
    found?.remove();
    holder.append(newLayer(source, file, is_image, index));
  });
}

function newLayer(source, file, isImage, index) {
  const picture = make(isImage ? "img" : "video", { src: fileUrl(file), class: "picture" });
  if (isImage) picture.alt = "";
  else Object.assign(picture, { muted: true, playsInline: true, preload: "auto" });
  picture.addEventListener("loadeddata", () => { if (!isImage) picture.currentTime = timeOf(state.frame); });
  return make(
    "div",
    { class: "layer", "data-source": source, "data-file": file, "data-colour": index - 1 },
    make("div", { class: "content" }, picture, make("canvas", { "aria-hidden": "true" })),
    make("span", { class: "tag", "aria-hidden": "true" }),
  );
}

const layer = (source) => [...part("layers").children].find((box) => box.dataset.source === source);
const videos = () => onStage().map((source) => layer(source)?.querySelector("video")).filter(Boolean);
