// Sends the chosen file straight to the bucket, then posts the form with its id instead of its bytes.
// Where the bucket cannot be reached from here, the form is posted as it is without JavaScript: with the file.
const PATIENCE = 20_000; // milliseconds without progress
const form = document.querySelector("form[data-sign]");
const chooser = form.querySelector("input[type=file]");
const button = form.querySelector("button");
const status = form.querySelector("[role=status]");

form.addEventListener("submit", (event) => {
  if (!chooser.files.length) return;
  event.preventDefault();
  button.disabled = true;
  upload(chooser.files[0]);
});

// The browser may show the page again as it left it.
window.addEventListener("pageshow", reset);

function reset() {
  form.querySelectorAll("[data-arrived]").forEach((field) => field.remove());
  button.disabled = chooser.disabled = false;
  status.hidden = true;
}

async function upload(file) {
  const text = form.dataset.sending.replace("{name}", () => file.name);
  try {
    const signed = await sign(file);
    show(text, 0);
    await send(file, signed, (bytes) => show(text, bytes / file.size));
    add("upload", signed.upload);
    add("name", file.name);
    chooser.disabled = true; // its bytes are where they belong
  } catch (error) {
    if (error instanceof Refusal) {
      reset();
      show(error.message);
      return;
    }
    console.warn("The bucket cannot be reached from this page:", error);
  }
  form.submit();
}

class Refusal extends Error {}

async function sign(file) {
  const body = new FormData(form);
  body.delete(chooser.name);
  body.set("size", file.size);
  const answer = await fetch(form.dataset.sign, { method: "POST", body });
  if (answer.ok) return answer.json();
  if (answer.status === 400) throw new Refusal((await answer.json()).error);
  throw new Refusal(form.dataset.failed);
}

function send(file, signed, progress) {
  const body = new FormData();
  for (const [name, value] of Object.entries(signed.fields)) body.set(name, value);
  body.set("file", file); // the last: a bucket ignores what follows it
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no progress of an upload
    request.open("POST", signed.url);
    let stall;
    const patience = () => {
      clearTimeout(stall);
      stall = setTimeout(() => request.abort(), PATIENCE);
    };
    request.upload.addEventListener("progress", (event) => {
      patience();
      progress(Math.min(event.loaded, file.size));
    });
    request.addEventListener("abort", () => reject(new Error("no progress")));
    request.addEventListener("loadend", () => clearTimeout(stall));
    request.addEventListener("load", () => (request.status < 300 ? resolve() : reject(request.status)));
    request.addEventListener("error", reject);
    request.send(body);
    patience();
  });
}

function add(name, value) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name, value });
  field.dataset.arrived = "";
  form.append(field);
}

function show(text, share) {
  status.hidden = false;
  status.firstElementChild.textContent = text;
  status.lastElementChild.hidden = share === undefined;
  status.lastElementChild.value = share ?? 0;
}
