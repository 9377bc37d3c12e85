// The keys, which work anywhere on the page where the player can be seen, and are listed under "?".
const KEYS = [
  ["Space", "play or pause", [" "], () => isVideo() && setPlaying(!state.playing)],
  [", .", "a frame back or on", [","], () => goTo(state.frame - 1)],
  [null, null, ["."], () => goTo(state.frame + 1)],
  ["W F D S", "wipe, flicker, difference, side by side", ["w"], () => setView("wipe")],
  [null, null, ["f"], () => setView("flicker")],
  [null, null, ["d"], () => setView("difference")],
  [null, null, ["s"], () => setView("side")],
  ["1 2 3 4", "this result of the player is B", ["1", "2", "3", "4"], (key) => choose("b", store.shown[Number(key) - 1])],
  ["Shift 1 … 4", "it is A", ["A1", "A2", "A3", "A4"], (key) => choose("a", store.shown[Number(key[1]) - 1])],
  ["O", "the original is A", ["o"], () => choose("a", ORIGINAL)],
  ["E", "exchange A and B", ["e"], () => choose("a", store.b)],
  ["X", "flicker by hand", ["x"], swapByHand],
  ["J", "jump to the worst frame of B, by the metric of the curves", ["j"], () => goToWorst()],
  ["[ ] \\", "loop from here, to here, the whole clip", ["["], () => setLoop(state.frame, undefined)],
  [null, null, ["]"], () => setLoop(undefined, state.frame)],
  [null, null, ["\\"], () => setLoop(null)],
  ["+ − 0", "zoom in, out, fit; also the wheel with Ctrl or after a click into the picture, and pinching", ["+", "="],
    () => zoomBy(ZOOM_STEP)],
  [null, null, ["-"], () => zoomBy(1 / ZOOM_STEP)],
  [null, null, ["0"], () => zoomBy(0)],
  ["Arrows", "move the pixel marker, the wipe line or the frame, whichever has the focus; with Shift in larger steps", []],
  ["P", "save this frame as PNG", ["p"], () => saveFrame()],
  ["G", "full screen", ["g"], () => setFull()],
  ["?", "these keys", ["?"], () => showKeys()],
];

function swapByHand() {
  if (state.view !== "flicker") {
    part("rate").value = 0;
    setView("flicker");
  }
  swap();
}

function showKeys() {
  const list = make("dl", {});
  for (const [keys, words] of KEYS) {
    if (keys) list.append(make("dt", {}, make("kbd", {}, keys)), make("dd", {}, words));
  }
  const close = make("button", { type: "button", "data-do": "close" }, "Close");
  const note = "Still frames are exact; while they play, clips are compressed once more for the browser.";
  part("keys").replaceChildren(make("h3", {}, "Keys"), list, make("p", { class: "dim" }, note), close);
  part("keys").showModal();
}

// What the arrow keys move, by where the focus is: [right, down, to an end].
function arrows(target) {
  const name = target.dataset?.part;
  if (name === "handle") return [(n) => setWipe(state.wipe + n), (n) => setWipe(state.wipe - n), (end) => setWipe(100 * end)];
  if (name === "stage") return [(n) => movePixel(n, 0), (n) => movePixel(0, n), () => {}];
  const step = (n) => goTo(state.frame + n);
  return name === "plot" ? [step, (n) => step(-n), (end) => goTo(end * lastFrame())] : null;
}

function pressed(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !clip() || !player.getClientRects().length || part("keys").open) return;
  const isText = target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable=true]");
  const takesSpace = target.closest?.("button, summary, a, [role=tab], [role=option], input[type=checkbox]");
  if (isText || target.closest?.("[role=listbox], dialog") || (key === " " && takesSpace)) return;
  const moves = arrows(target), step = event.shiftKey ? 10 : 1;
  const [across, down, toEnd] = moves ?? [];
  const action = moves && {
    ArrowLeft: () => across(-step), ArrowRight: () => across(step), ArrowUp: () => down(-step),
    ArrowDown: () => down(step), Home: () => toEnd(0), End: () => toEnd(1),
  }[key];
  const digit = event.shiftKey && /^Digit[1-4]$/.exec(event.code); // whatever Shift makes of it on this keyboard
  const letter = digit ? `A${digit[0].at(-1)}` : key.length === 1 ? key.toLowerCase() : key;
  const listed = KEYS.find(([, , keys]) => keys.includes(letter));
  if (!action && !listed) return;
  event.preventDefault();
  if (action) action();
  else listed[3](letter);
}
