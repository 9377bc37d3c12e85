// One row of both clips over time.
let sliced = null; // job and row of the slice shown

function prepareSlice() {
  const { height, job } = clip();
  part("slice").hidden = !isVideo() || !job;
  part("row").max = height - 1;
  part("row").value = Math.floor(height / 2);
  openSlice();
}

function openSlice() {
  showRow();
  if (part("slice").open && !part("slice").hidden) loadSlice();
}

function showRow() {
  const row = Number(part("row").value);
  part("row-value").textContent = row;
  part("row-line").style.top = `${(100 * (row + 0.5)) / clip().height}%`;
  part("row-line").hidden = !part("slice").open || part("slice").hidden;
}

async function loadSlice() {
  const row = Number(part("row").value), { job } = clip(), wanted = `${job} ${row}`;
  if (sliced === wanted) return;
  sliced = wanted;
  part("slice-note").textContent = "Reading the frames.";
  const reply = await ask("row_slices", { job, row });
  if (sliced !== wanted) return;
  part("slice-note").textContent = "";
  for (const name of ["original", "output"]) {
    part(`${name}-slice`).closest("figure").hidden = !reply;
    if (reply) part(`${name}-slice`).src = reply[name];
  }
}

// The slice's pictures have one line a frame.
function frameOfSlice(picture, event) {
  const box = picture.getBoundingClientRect();
  return Math.floor(((event.clientY - box.top) / box.height) * picture.naturalHeight);
}
