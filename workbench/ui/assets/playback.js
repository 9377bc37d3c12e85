// All that is on the stage in step, by the number of the frame.

// A time in the middle of a frame: nothing rounds it to a neighbour.
function timeOf(frame) {
  const times = clip().times_s;
  if (!times) return (frame + 0.5) / clip().fps;
  const begin = times[frame] - times[0];
  return (begin + (frame < lastFrame() ? times[frame + 1] - times[0] : begin + 1 / clip().fps)) / 2;
}

function frameNow() {
  const { currentTime } = videos()[0], times = clip().times_s;
  if (!times) return clamp(Math.floor(currentTime * clip().fps + 1e-3), 0, lastFrame());
  const later = times.findIndex((time) => time - times[0] > currentTime + 1e-4);
  return later < 0 ? lastFrame() : Math.max(0, later - 1);
}

function showFrame(frame) {
  state.frame = frame;
  part("scrubber").value = frame;
  part("scrubber").setAttribute("aria-valuetext", `frame ${frame} of 0 to ${lastFrame()}`);
  part("readout").textContent = `frame ${frame} of 0–${lastFrame()}`;
  markFrame();
}

function goTo(frame) {
  if (state.playing) setPlaying(false);
  seek(clamp(frame, 0, lastFrame()));
  render();
  loadExact();
}

let tellFrame = () => {}; // the other tabs, which show the same moment
let standing = null;

function seek(frame) {
  clearTimeout(standing);
  standing = setTimeout(() => !state.playing && tellFrame({ frame: state.frame, last: lastFrame() }), 400);

  for (const video of videos()) {
    video.playbackRate = speed();
    video.currentTime = timeOf(frame);
  }
  showFrame(frame);
}

const speed = () => Number(part("speed").value);
const loopRange = () => state.loop ?? [0, lastFrame()];

function setPlaying(on, once = false) {
  Object.assign(state, { playing: on, once });
  part("play").textContent = on ? "Pause" : "Play";
  if (on) {
    const [first, last] = loopRange();
    if (state.frame >= last || state.frame < first) seek(first);
    if (state.view === "difference") playExactly();
    else playVideos();
  } else {
    const now = state.view === "difference" ? state.frame : frameNow();
    for (const video of player.querySelectorAll("video")) video.pause();
    seek(now); // all on exactly the same frame
    loadExact();
  }
  render();
}

function playVideos() {
  Promise.all(videos().map((video) => video.play())).then(() => requestAnimationFrame(keepInStep), () => {
    if (state.playing) setPlaying(false);
  });
}

// All follow the first: small drifts by their speed, large ones by a jump.
function keepInStep() {
  if (!state.playing || !isVideo() || state.view === "difference" || !player.isConnected) return;
  const [leader, ...followers] = videos(), [first, last] = loopRange();
  if (state.once && (leader.ended || frameNow() >= last)) {
    setPlaying(false);
    return;
  }
  if (leader.ended || frameNow() > last || (state.loop && frameNow() < first)) {
    seek(first);
    for (const video of videos()) video.play().catch(() => {});
  }
  for (const follower of followers) {
    const drift = follower.currentTime - leader.currentTime;
    if (Math.abs(drift) > 3 / clip().fps) follower.currentTime = leader.currentTime;
    else follower.playbackRate = speed() * clamp(1 - 4 * drift, 0.8, 1.25);
  }
  showFrame(frameNow());
  requestAnimationFrame(keepInStep);
}

// The difference is never taken of the compressed videos: its frames come as fast as they load.
async function playExactly() {
  while (state.playing && state.view === "difference" && player.isConnected) {
    const begin = performance.now(), [first, last] = loopRange();
    showFrame(state.frame >= last ? first : state.frame + 1);
    await loadExact();
    const pause = 1000 / (speed() * clip().fps) - (performance.now() - begin);
    await new Promise((go) => setTimeout(go, Math.max(10, pause)));
  }
}

// The range that is played again and again: from or to the current frame; null for the whole clip.
function setLoop(from, to) {
  const [first, last] = loopRange();
  state.loop = from === null ? null : [from ?? Math.min(first, to), to ?? Math.max(last, from)];
  part("loop-clear").disabled = !state.loop;
  const [low, high] = loopRange().map((frame) => `${(100 * frame) / Math.max(1, lastFrame())}%`);
  part("scrubber").style.setProperty("--from", low);
  part("scrubber").style.setProperty("--to", high);
  part("scrubber").classList.toggle("loops", Boolean(state.loop));
}

// What is on the stage, in pixels of the clip, as a file.
function saveFrame() {
  const { width, height } = clip(), staged = onStage(), isSide = state.view === "side";
  const canvas = make("canvas"), columns = isSide ? cells.columns : 1, rows = isSide ? cells.rows : 1;
  Object.assign(canvas, { width: columns * width, height: rows * height });
  const context = canvas.getContext("2d");
  const put = (source, index) => {
    const box = layer(source), picture = exactOf(source) ? box.querySelector("canvas") : box.querySelector(".picture");
    context.drawImage(picture, (index % columns) * width, Math.floor(index / columns) * height, width, height);
  };
  if (isSide) staged.forEach(put);
  else if (state.view === "difference" && !part("heat").hidden) context.drawImage(part("heat"), 0, 0);
  else if (state.view === "flicker") put(state.showsB ? store.b : store.a, 0);
  else {
    put(store.a, 0);
    context.beginPath();
    context.rect((state.wipe / 100) * width, 0, width, height);
    context.clip();
    put(store.b, 0);
  }
  const name = `${clip().clip.replace(/\.\w+$/, "")}_${state.view}_frame${state.frame}.png`;
  make("a", { href: canvas.toDataURL("image/png"), download: name }).click();
}

function goToWorst() {
  const frame = metricOf(store.b === ORIGINAL ? store.a : store.b)?.worst_frame;
  if (frame !== undefined) goTo(frame);
}

function setFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else player.requestFullscreen?.();
}
