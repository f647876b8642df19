// Jaeger's page, set up for reading an order's trace. Jaeger puts this file into its page as a script, ahead of its own.
// No dollar sign may stand in it, not even in a comment: Jaeger reads one as the name of a group, and drops both.

// No option of Jaeger says where the names end and the bars begin: a quarter of the page, which cuts names off, or where the
// reader dragged the divider to, which the browser remembers. So it is told once, and a reader who drags it keeps their own.
if (localStorage.getItem("spanNameColumnWidth") === null) localStorage.setItem("spanNameColumnWidth", "0.5");

function UIConfig() {
  const setting = settings();
  const gateway = setting("Shop-Gateway");
  const source = setting("Shop-Source") || inVisualStudioCode(setting("Shop-Checkout"));
  return {
    // Above the conventions' attributes: what belongs to this shop alone.
    topTagPrefixes: ["shop."],
    linkPatterns: [
      gateway && {
        type: "tags",
        key: "shop.order.id",
        url: gateway + "/v1/orders/#{shop.order.id}/timeline",
        text: "What became of order #{shop.order.id}",
      },
      source && {
        type: "tags",
        key: ["code.file.path", "code.function.name", "code.line.number"],
        // A function: in a string Jaeger would write the path's slashes as %2F, which no editor and no code host reads.
        url: {
          parameters: ["code.file.path", "code.line.number"],
          template: (span) =>
            source.replace("{path}", span["code.file.path"]).replace("{line}", span["code.line.number"]),
        },
        text: "Open #{code.file.path} at line #{code.line.number}",
      },
    ].filter(Boolean),
  };
}

// What compose.yaml says of this installation. A page sees no environment, so jaeger.yaml puts it into every answer's
// headers. The page waits for the answer, because Jaeger asks for its configuration once, before it draws.
function settings() {
  const answer = new XMLHttpRequest();
  answer.open("HEAD", document.baseURI, false);
  answer.send();
  // A browser reads a header's bytes as Latin-1; a folder's name may hold any letter.
  const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  return (name) => new TextDecoder().decode(bytes(answer.getResponseHeader(name) || ""));
}

// The address that opens a line of a clone, whose folder may be one of Windows: C:\shop.
function inVisualStudioCode(folder) {
  return folder && "vscode://file/" + encodeURI(folder.replaceAll("\\", "/").replace(/^\//, "")) + "/{path}:{line}";
}
