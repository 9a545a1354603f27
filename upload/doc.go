// Package upload brings bytes into an S3-compatible store while they are made:
// a stream of unknown length becomes one object, and neither the store's absence
// nor the death of the process loses what was written.
//
// Written bytes go to part files in a spool, a folder on disk, and parts are sent
// from there, several at a time. So memory does not depend on the size of parts,
// an outage of the store only lets the spool grow, and after kill -9 the spool
// and the store together still have every byte: Open and Close finish the object,
// sending nothing that the store has. docs/decisions/0007-spool.md says why.
//
// Start begins a stream, StartFile sends a file that is ready, Open takes up what
// a dead process left, Publish sends the small files of an HLS recording in
// order, and TakeUp finishes either kind. Nothing here knows of pipelines or containers, and nothing secret is
// logged, put into an error, or written to disk.
package upload
