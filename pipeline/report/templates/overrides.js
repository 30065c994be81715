"use strict";
(() => {
  const desk = document.getElementById("overrides");
  if (!desk) { return; }
  const rows = Array.from(document.querySelectorAll("table.samples tbody"));
  const reviewer = document.getElementById("reviewer"), status = desk.querySelector("[role=status]"), tally = desk.querySelector("output");
  const control = document.getElementById("override"), ledger = document.getElementById("pending");
  const keyOf = ({ doc_id, content_hash, row_hash }) => [content_hash, row_hash, String(doc_id).padStart(20, "0")].join(" ");
  let elsewhere = [], isUnsaved = false;

  // everything lives in this page's memory: nothing is stored, nothing is sent
  const pending = () => rows.map(read).filter(({ action }) => action).concat(elsewhere).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));

  function read(row) {
    const { doc, content, row: hash } = row.dataset;
    const note = row.querySelector(".override input").value.trim();
    return { doc_id: Number(doc), content_hash: content, row_hash: hash, action: row.querySelector(".override select").value, note };
  }

  function addControl(row) {
    const copy = control.content.cloneNode(true);
    copy.querySelectorAll("[aria-label]").forEach((field) => field.setAttribute("aria-label", `${field.getAttribute("aria-label")} ${row.dataset.doc}`));
    row.querySelector(".override").append(copy);
    row.querySelector(".override").hidden = false;
    row.addEventListener("input", () => { isUnsaved = true; mark(row); tell(); });
  }

  function mark(row) {
    row.dataset.override = read(row).action ? "yes" : "";
  }

  function tell() {
    const orders = pending();
    tally.textContent = orders.length === 1 ? "1 override pending" : `${orders.length} overrides pending`;
    ledger.hidden = !orders.length;
    ledger.querySelector("ol").replaceChildren(...orders.map(({ doc_id, action, note }) => {
      const line = document.createElement("li");
      line.textContent = `doc ${doc_id}: ${action}${note ? `. ${note}` : ""}`;
      return line;
    }));
  }

  function say(text, isFault = false) {
    status.textContent = text;
    status.classList.toggle("fault", isFault);
  }

  function save() {
    const orders = pending(), name = reviewer.value.trim();
    if (!name) { say("Enter the reviewer's name first.", true); reviewer.focus(); return; }
    if (!orders.length) { say("No override is pending: choose an action in a row.", true); return; }
    const file = { format: "sinkaudit-overrides", version: 1, run: desk.dataset.run, reviewer: name, overrides: orders };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1), "\n"], { type: "application/json" }));
    link.download = `overrides-${desk.dataset.run}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    isUnsaved = false;
    say(`Exported ${orders.length} as ${link.download}.`);
  }

  function load(text) {
    const file = JSON.parse(text);
    if (file.format !== "sinkaudit-overrides" || file.version !== 1) { throw new Error("it is no file of overrides"); }
    if (file.run !== desk.dataset.run) { throw new Error("it is about another run"); }
    const here = new Map(rows.map((row) => [keyOf(read(row)), row]));
    elsewhere = file.overrides.filter((order) => !here.has(keyOf(order)));
    file.overrides.forEach((order) => {
      const row = here.get(keyOf(order));
      if (!row) { return; }
      row.querySelector(".override select").value = order.action;
      row.querySelector(".override input").value = order.note;
      mark(row);
    });
    reviewer.value = reviewer.value || file.reviewer;
    tell();
    say(`Read ${file.overrides.length}; ${elsewhere.length} of them for rows that are not on this page and travel along.`);
  }

  rows.forEach(addControl);
  document.getElementById("export").addEventListener("click", save);
  document.getElementById("import").addEventListener("change", ({ target }) => {
    if (!target.files.length) { return; }
    target.files[0].text().then(load).catch((fault) => say(`The file was not read: ${fault.message}.`, true));
    target.value = "";
  });
  window.addEventListener("beforeunload", (event) => { if (isUnsaved && pending().length) { event.preventDefault(); } });
  desk.hidden = false;
  tell();
})();
