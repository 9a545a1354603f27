package gstbin

// #include "join.h"
import "C"

import "time"

// Join watches the inputs of an element that puts several streams together.
type Join struct{ c *C.MpipeJoin }

// JoinStats is what came to one input of a Join.
type JoinStats struct {
	Frames  int64
	Late    int64         // of Frames, those from a time that had been passed: pictures are shown later, sound is left out
	Missing time.Duration // how much was passed without a frame
}

// Join keeps the element id, whose pads are all linked, from waiting longer than
// patience for an input that says nothing while another has something; 0 waits for
// ever. Close ends it. It gives nil for an element that is no GstAggregator.
func (p *Pipeline) Join(id string, patience time.Duration) *Join {
	c := C.mpipe_join_new(element(p.elems[id]), C.int64_t(patience))
	if c == nil {
		return nil
	}
	j := &Join{c}
	p.joins = append(p.joins, j)
	return j
}

// Stats reads the counts of a pad, until Close.
func (j *Join) Stats(pad string) JoinStats {
	name, free := cstr(pad)
	defer free()
	var s C.MpipeJoinStats
	if j.c == nil || C.mpipe_join_stats(j.c, name, &s) == 0 {
		return JoinStats{}
	}
	return JoinStats{int64(s.frames), int64(s.late), time.Duration(s.missing)}
}
