// Package snapshot turns frames of a ring into files that anything opens: a
// picture into PNG, sound into WAV. It is for looking, not for recording: colours
// are right by matrix and range, but chroma is not interpolated, and transfer
// functions are left as they are, so HDR pictures come out flat.
//
// It knows formats and bytes. Where frames come from, and files and names, may
// not be in here.
package snapshot
