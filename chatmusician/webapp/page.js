// Escape stops the answer, wherever the cursor is.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.getElementById("stop")?.click();
});

// The conversation stays scrolled to its end while it grows, unless the reader has scrolled up.
new MutationObserver(() => {
  const chat = document.getElementById("chat");
  if (!chat) return;
  const grown = chat.scrollHeight - (chat.knownHeight ?? 0);
  const atEnd = chat.scrollTop + chat.clientHeight >= chat.scrollHeight - Math.max(grown, 0) - 40;
  if (grown && atEnd) chat.scrollTop = chat.scrollHeight;
  chat.knownHeight = chat.scrollHeight;
}).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
