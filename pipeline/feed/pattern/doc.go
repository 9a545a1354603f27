// Package pattern draws and plays the test programme of `mpipe feed`, and reads
// it back from what a recorder made of it.
//
// A picture is I420: a slowly moving background, the time and the frame number
// for people, the frame number as black and white blocks for [Read], and a
// square that is white on the first frame of each second and black otherwise,
// for [Flash]. The sound is a soft chord with a short click that begins at the
// capture time of each white square, for [Clicks]. So from a recording alone one
// can tell that every frame is there once and in order, and how far sound and
// picture are apart.
//
// All places in the picture are fractions of its size, so a reader need not know
// the size that was drawn: scaled pictures read the same.
//
// It imports the standard library alone; clocks, rings and files are not its
// business.
package pattern
