// Both clips in step, by the number of the frame.
const videos = () => [part("original"), part("output")];

// A time in the middle of a frame: nothing rounds it to a neighbour.
function timeOf(frame) {
  const times = clip().times_s;
  if (!times) return (frame + 0.5) / clip().fps;
  return (times[frame] + (times[frame + 1] ?? times[frame] + 1 / clip().fps)) / 2;
}

function frameNow() {
  const { currentTime } = part("original"), times = clip().times_s;
  if (!times) return clamp(Math.floor(currentTime * clip().fps + 1e-3), 0, lastFrame());
  const later = times.findIndex((time) => time > currentTime + 1e-4);
  return later < 0 ? lastFrame() : Math.max(0, later - 1);
}

function showFrame(frame) {
  state.frame = frame;
  part("scrubber").value = frame;
  part("scrubber").setAttribute("aria-valuetext", `frame ${frame} of 0 to ${lastFrame()}`);
  part("readout").textContent = `frame ${frame} / ${lastFrame()}`;
  markFrame();
}

function goTo(frame) {
  if (state.playing) setPlaying(false);
  seek(clamp(frame, 0, lastFrame()));
  render();
  loadExact();
}

function seek(frame) {
  if (isVideo()) videos().forEach((video) => { video.playbackRate = 1; video.currentTime = timeOf(frame); });
  showFrame(frame);
}

function setPlaying(on) {
  state.playing = on;
  part("play").textContent = on ? "Pause" : "Play";
  part("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) {
    if (state.frame >= lastFrame()) seek(0);
    if (state.view === "difference") playExactly();
    else playVideos();
  } else {
    videos().forEach((video) => video.pause());
    seek(state.view === "difference" ? state.frame : frameNow()); // both on exactly the same frame
    loadExact();
  }
  render();
}

function playVideos() {
  Promise.all(videos().map((video) => video.play())).then(() => requestAnimationFrame(keepInStep), () => {
    if (state.playing) setPlaying(false);
  });
}

// The reconstruction follows the original: small drifts by its speed, large ones by a jump.
function keepInStep() {
  if (!state.playing || !isVideo() || !element.isConnected) return;
  const [leader, follower] = videos();
  const drift = follower.currentTime - leader.currentTime;
  if (leader.ended) {
    seek(0);
    videos().forEach((video) => video.play().catch(() => {}));
  } else if (Math.abs(drift) > 3 / clip().fps) {
    follower.currentTime = leader.currentTime;
  } else {
    follower.playbackRate = clamp(1 - 4 * drift, 0.8, 1.25);
  }
  showFrame(frameNow());
  requestAnimationFrame(keepInStep);
}

// The difference is never taken of the compressed videos: its frames come as fast as they load.
async function playExactly() {
  while (state.playing && state.view === "difference" && element.isConnected) {
    const begin = performance.now();
    showFrame((state.frame + 1) % clip().num_frames);
    await loadExact();
    await new Promise((go) => setTimeout(go, Math.max(10, 1000 / clip().fps - (performance.now() - begin))));
  }
}
