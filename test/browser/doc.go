// Package browser tests recordings of pages in a real headless Chromium, from the
// page's script to the decoded file. It holds tests alone.
package browser
