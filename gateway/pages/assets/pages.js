// What all pages do with a script: copy, times in the reader's zone, the theme. Without it they show the same.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.valueOf())) {
    time.title = time.textContent;
    const timeStyle = time.closest(".limit") ? "short" : "medium";
    time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle });
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const words = button.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), 1500);
  });
}

const themes = document.querySelector("[data-theme-switch]");
if (themes) {
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
  const name = () => (themes.textContent = dark() ? "Light theme" : "Dark theme");
  themes.hidden = false;
  name();
  themes.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    localStorage.setItem("theme", next);
    document.documentElement.dataset.theme = next;
    name();
  });
}

// A link may bring the secret to sign in with behind its #, which is never sent to a server.
const secret = document.querySelector("form[action='/sign-in'] #secret");
if (secret && location.hash.length > 1) {
  secret.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
}
// A key that somebody signs in with is kept in this tab alone, for the playground; what another one left there is gone.
if (secret) {
  secret.form.addEventListener("submit", () => {
    sessionStorage.removeItem("key");
    if (secret.value.startsWith("ag_")) sessionStorage.setItem("key", secret.value.trim());
  });
}
document.querySelector("form[action='/sign-out']")?.addEventListener("submit", () => sessionStorage.removeItem("key"));

// What must not happen by accident is asked for again.
for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.ask)) event.preventDefault();
  });
}

// Selections that filter a page do so at once.
for (const select of document.querySelectorAll("form[data-live] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// What a new key is shown with can be tried at once.
for (const button of document.querySelectorAll("[data-try-key]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    sessionStorage.setItem("key", button.dataset.tryKey);
    location.href = "/playground";
  });
}

// Another row of limits, like the last one.
for (const button of document.querySelectorAll("[data-add-row]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const rows = button.parentElement.querySelector("[data-rows]");
    const row = rows.lastElementChild.cloneNode(true);
    for (const field of row.querySelectorAll("input")) field.value = "";
    for (const field of row.children) field.ariaLabel = field.ariaLabel.replace(/\d+$/, rows.children.length + 1);
    rows.append(row);
    row.querySelector("select").focus();
  });
}
