// The key that this tab remembers, in place of the placeholder, once somebody asks for it.
const mine = document.querySelector("#mine"), placeholder = document.querySelector("code.keep").textContent;
const texts = [...document.querySelectorAll(".apps pre code")].map((code) => [code, code.textContent]);

if (sessionStorage.getItem("key")) {
  mine.hidden = false;
  mine.querySelector("input").addEventListener("change", (event) => {
    const shown = event.target.checked ? sessionStorage.getItem("key") : placeholder;
    for (const [code, text] of texts) code.textContent = text.replaceAll(placeholder, shown);
  });
}
