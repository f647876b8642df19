// Says a sentence to those who hear the page instead of seeing it.

const region = document.getElementById("announcer");

export function announce(sentence) {
  region.textContent = sentence;
}
