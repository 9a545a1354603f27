// Package browser holds the page's side of mpipe, an ES module without
// dependencies, for programs that put it into pages. The module itself is in the
// files beside this one; README.md says how pages use it, FORMAT.md what it writes.
// Nothing here reads what a page writes: that is elements/browser.
package browser

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

//go:embed *.js
var files embed.FS

// Files are the module's files, to be served over HTTP: pages import mpipe.js.
func Files() fs.FS { return files }

var (
	imports = regexp.MustCompile(`(?m)^import [^;]*? from "\./[\w-]+\.js";\n`)
	exports = regexp.MustCompile(`(?m)^export (class|function|async function|const|let) `)
	lists   = regexp.MustCompile(`(?m)^export \{[^}]*\};\n`)
)

// Script is the whole module as one script that needs no other file: it sets
// globalThis.mpipe. For evaluateOnNewDocument and the like, where a page cannot
// import. Pages whose content security policy forbids workers from blob: have to
// be loaded with the policy bypassed.
func Script() string {
	worker := join("layout.js", "core.js", "i420.js", "pump.js", "worker.js")
	page := join("layout.js", "core.js", "mpipe.js")
	return fmt.Sprintf(`(() => {
"use strict";
if (globalThis.mpipe || typeof Worker === "undefined") return;
const blobURL = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
let tapURL;
const startWorker = () => new Worker(blobURL(%s));
const workletURL = () => (tapURL ||= blobURL(%s));
%s
globalThis.mpipe = { writer, capture, MpipeError };
})();
`, quote("(() => {\n\"use strict\";\n"+worker+"})();\n"), quote(join("worklet.js")), page)
}

// join puts modules behind each other in one scope.
func join(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		text, err := files.ReadFile(n)
		if err != nil {
			panic(err) // it is embedded
		}
		s := imports.ReplaceAllString(string(text), "")
		s = exports.ReplaceAllString(s, "$1 ")
		b.WriteString(lists.ReplaceAllString(s, ""))
	}
	return b.String()
}

// quote makes a JavaScript string of a text.
func quote(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`", "${", "\\${").Replace(s) + "`"
}
