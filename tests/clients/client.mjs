// Node's own fetch as a client of the proxy.
//
//   node client.mjs HOW URL FILE TIMES [NAME:VALUE]...
//
// Prints one line of JSON per answer. Knows nothing of what is expected.

import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [how, url, file, times, ...given] = process.argv.slice(2);
const bytes = readFileSync(file);

const headers = new Headers();
for (const header of given) {
  const colon = header.indexOf(":");
  headers.append(header.slice(0, colon), header.slice(colon + 1));
}

function body() {
  switch (how) {
    case "bytes":
      return bytes; // the only kind for which fetch sets no content type
    case "text":
      return bytes.toString("utf8");
    case "form":
      return new URLSearchParams(JSON.parse(bytes.toString("utf8")));
    case "remedied":
      headers.set("Content-Type", "application/json");
      return bytes.toString("utf8");
    case "upload": {
      const form = new FormData();
      form.append("file", new Blob([bytes]), basename(file));
      return form;
    }
    default:
      throw new Error(`fetch has no way to send ${how}`);
  }
}

for (let call = 0; call < Number(times); call++) {
  const answer = await fetch(url, { method: "POST", headers, body: body() });
  // Read to its end before the next call: the connection is free only then.
  const content = Buffer.from(await answer.arrayBuffer());
  console.log(
    JSON.stringify({
      status: answer.status,
      content_type: answer.headers.get("content-type") ?? "",
      request_id: answer.headers.get("x-request-id") ?? "",
      proxy_status: answer.headers.get("proxy-status") ?? "",
      body: content.toString("base64"),
    }),
  );
}
