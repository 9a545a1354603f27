package ring

import (
	"encoding/binary"
	"fmt"
)

// What TestKill and its producers, testdata/killed.c and helperKilled, agree on.
//
// A producer has two video streams and one of audio. It writes killFrames frames
// to each, from one thread in turn or from a thread each, ends them, closes, and
// kills itself at the latest then. What a frame holds follows from the seed, the
// stream and its number, which is also its PTS.
const (
	killStreams   = 3
	killFrames    = 20
	killVideoMost = 8 << 10
	killAudioMost = 1920
)

// The log is a page of shared memory: when and where the producer died, and a
// byte for each frame with what was last done to it. The end of a stream counts
// as one more frame.
const (
	killDiedAt = 0 // u64 ns
	killPoint  = 8 // u32 fault point; 0: after Close
	killStates = 64
	killRow    = 64 // bytes for each stream

	killNone       = 0
	killTrying     = 1
	killClaimed    = 2
	killCommitting = 3
	killCommitted  = 4
	killAborting   = 5
	killAborted    = 6
	killEnding     = 7
	killEnd        = 8
)

// killMix is splitmix64.
func killMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// killFrame gives the key of a frame's content, and its size.
func killFrame(seed uint64, stream, n int) (key uint64, size int) {
	key = killMix(seed ^ uint64(stream)<<32 ^ uint64(n))
	if stream == 2 {
		return key, 8 * (1 + int(key%(killAudioMost/8)))
	}
	return key, 1024 + 8*int(key%((killVideoMost-1024)/8))
}

func killDraw(b []byte, key uint64) {
	for k := 0; k < len(b); k += 8 {
		binary.LittleEndian.PutUint64(b[k:], killMix(key+uint64(k/8)))
	}
}

// killCheck compares every byte of a frame with what its producer drew.
func killCheck(b []byte, seed uint64, stream, n int) error {
	key, size := killFrame(seed, stream, n)
	if len(b) != size {
		return fmt.Errorf("stream %d, frame %d: %d bytes, want %d", stream, n, len(b), size)
	}
	for k := 0; k < len(b); k += 8 {
		if binary.LittleEndian.Uint64(b[k:]) != killMix(key+uint64(k/8)) {
			return fmt.Errorf("stream %d, frame %d: corrupt at byte %d", stream, n, k)
		}
	}
	return nil
}
