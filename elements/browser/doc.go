// Package browser is the source for pages of an unpatched Chromium: a page writes
// its frames into files of the browser's own file system (OPFS), which lie on
// tmpfs, and mpipe reads them there. The page's side is in browser/ at the top of
// the tree, browser/FORMAT.md is the contract between the two.
//
// This package finds the files, follows them and believes nothing of what stands
// in them; where the frames go is package shmsrc. There is no cgo here.
package browser
