// Package intake is the part that all sources over foreign transports share: what
// a session's greeting, formats and records look like and what of them may be
// believed, and the way of its frames into a ring inside of mpipe. It knows no
// transport: files, sockets and the rest are the packages that import it. The
// layout is browser/FORMAT.md; everything that is read comes from somebody who
// may be hostile, is copied once and then checked.
package intake
