package ring

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// layoutInC names each offset of the layout as the C header has it.
var layoutInC = []struct {
	typ, field string
	off        int
}{
	{"mpr_header", "magic", segMagicOff}, {"mpr_header", "major", segMajor}, {"mpr_header", "minor", segMinor},
	{"mpr_header", "header_size", segHeaderSize}, {"mpr_header", "required", segRequired}, {"mpr_header", "optional", segOptional},
	{"mpr_header", "ring_id", segRingID}, {"mpr_header", "epoch", segEpoch}, {"mpr_header", "size", segSize},
	{"mpr_header", "words_off", segWordsOff}, {"mpr_header", "mailbox_off", segMailboxOff},
	{"mpr_header", "writers_off", segWritersOff}, {"mpr_header", "writer_count", segWriterCount}, {"mpr_header", "writer_size", segWriterSize},
	{"mpr_header", "streams_off", segStreamsOff}, {"mpr_header", "stream_count", segStreamCount}, {"mpr_header", "stream_size", segStreamSize},
	{"mpr_header", "formats_off", segFormatsOff}, {"mpr_header", "format_count", segFormatCount}, {"mpr_header", "format_size", segFormatSize},
	{"mpr_header", "slot_size", segSlotSize}, {"mpr_header", "granule", segGranule}, {"mpr_header", "consumer_pid", segConsumerPID},
	{"mpr_header", "class_count", segClassCount}, {"mpr_header", "consumer_boot", segConsumerBoot}, {"mpr_header", "classes", segClasses},
	{"mpr_class_desc", "kind", classKind}, {"mpr_class_desc", "slots", classSlots}, {"mpr_class_desc", "slots_off", classSlotsOff},
	{"mpr_class_desc", "data_off", classDataOff}, {"mpr_class_desc", "capacity", classCapacity}, {"mpr_class_desc", "modulus", classModulus},
	{"mpr_class_desc", "align", classAlign}, {"mpr_class_desc", "start", classStart},
	{"mpr_words", "data_seq", wordDataSeq}, {"mpr_words", "data_waiters", wordDataWaiters}, {"mpr_words", "full_waiters", wordFullWaiters},
	{"mpr_words", "producer_state", wordProducerState}, {"mpr_words", "mailbox", wordMailbox}, {"mpr_words", "classes", wordClasses},
	{"mpr_class_words", "write", wordWrite}, {"mpr_class_words", "space_waiters", wordSpaceWaiters},
	{"mpr_writer_entry", "state", writerState}, {"mpr_writer_entry", "pid", writerPID}, {"mpr_writer_entry", "tid", writerTID},
	{"mpr_writer_entry", "intent", writerIntent}, {"mpr_writer_entry", "frames", writerFrames}, {"mpr_writer_entry", "bytes", writerBytes},
	{"mpr_writer_entry", "dropped_full", writerFull}, {"mpr_writer_entry", "dropped_policy", writerPolicy},
	{"mpr_writer_entry", "blocked_ns", writerBlocked}, {"mpr_writer_entry", "retries", writerRetries}, {"mpr_writer_entry", "aborted", writerAborted},
	{"mpr_stream_counters", "dropped_full", streamFull}, {"mpr_stream_counters", "dropped_policy", streamPolicy}, {"mpr_stream_counters", "blocked_ns", streamBlocked},
	{"mpr_format_entry", "state", formatState}, {"mpr_format_entry", "kind", formatKind}, {"mpr_format_entry", "planes", formatPlanes},
	{"mpr_format_entry", "stream", formatStream}, {"mpr_format_entry", "width", formatWidth}, {"mpr_format_entry", "height", formatHeight},
	{"mpr_format_entry", "fps_num", formatFPSNum}, {"mpr_format_entry", "fps_den", formatFPSDen}, {"mpr_format_entry", "mask", formatMask},
	{"mpr_format_entry", "strides", formatStrides}, {"mpr_format_entry", "offsets", formatOffsets}, {"mpr_format_entry", "name", formatName},
	{"mpr_format_entry", "colorimetry", formatColor}, {"mpr_format_entry", "chroma_site", formatChroma},
	{"mpr_slot_entry", "state", slotState}, {"mpr_slot_entry", "claim", slotClaim}, {"mpr_slot_entry", "extent", slotExtent},
	{"mpr_slot_entry", "offset", slotOffset}, {"mpr_slot_entry", "length", slotLength}, {"mpr_slot_entry", "stream", slotStream},
	{"mpr_slot_entry", "kind", slotKind}, {"mpr_slot_entry", "format", slotFormat}, {"mpr_slot_entry", "pts", slotPTS},
	{"mpr_slot_entry", "duration", slotDuration}, {"mpr_slot_entry", "flags", slotFlags}, {"mpr_slot_entry", "index", slotIndex},
	{"mpr_consumer_page", "magic", consMagicOff}, {"mpr_consumer_page", "major", consMajor}, {"mpr_consumer_page", "minor", consMinor},
	{"mpr_consumer_page", "size", consBytes}, {"mpr_consumer_page", "ring_id", consRingID}, {"mpr_consumer_page", "epoch", consEpoch},
	{"mpr_consumer_page", "state", consState}, {"mpr_consumer_page", "state_seq", consStateSeq}, {"mpr_consumer_page", "pid", consPID},
	{"mpr_consumer_page", "uid", consUID}, {"mpr_consumer_page", "boot", consBoot}, {"mpr_consumer_page", "producer_pid", consProducerPID},
	{"mpr_consumer_page", "producer_uid", consProducerUID}, {"mpr_consumer_page", "producer_boot", consProducerBoot},
	{"mpr_consumer_page", "stream_count", consStreamCount}, {"mpr_consumer_page", "reader_state", consReaderState},
	{"mpr_consumer_page", "advice_num", consAdviceNum}, {"mpr_consumer_page", "advice_den", consAdviceDen},
	{"mpr_consumer_page", "name", consName}, {"mpr_consumer_page", "producer_name", consProducerName}, {"mpr_consumer_page", "reason", consReason},
	{"mpr_consumer_page", "copy_limit", consCopyLimit}, {"mpr_consumer_page", "copies", consCopies}, {"mpr_consumer_page", "abandoned", consAbandoned},
	{"mpr_consumer_page", "waits", consWaits}, {"mpr_consumer_page", "wake_ups", consWakeUps}, {"mpr_consumer_page", "held_since", consHeldSince}, {"mpr_consumer_page", "holder", consHolder}, {"mpr_consumer_page", "classes", consClasses},
	{"mpr_class_page", "read", consRead}, {"mpr_class_page", "space_seq", consSpaceSeq}, {"mpr_class_page", "peek", consPeek},
	{"mpr_class_page", "held", consHeld}, {"mpr_class_page", "held_most", consHeldMost}, {"mpr_class_page", "held_bytes", consHeldBytes},
	{"mpr_class_page", "held_bytes_most", consBytesMost}, {"mpr_class_page", "evicted", consEvicted}, {"mpr_class_page", "evicted_bytes", consEvictedB},
	{"mpr_hello", "magic", helloMagicOff}, {"mpr_hello", "major", helloMajor}, {"mpr_hello", "minor", helloMinor}, {"mpr_hello", "length", helloLength},
	{"mpr_hello", "required", helloRequired}, {"mpr_hello", "optional", helloOptional}, {"mpr_hello", "role", helloRole}, {"mpr_hello", "count", helloCount},
	{"mpr_hello", "pid", helloPID}, {"mpr_hello", "boot", helloBoot}, {"mpr_hello", "name", helloName}, {"mpr_hello", "streams", helloSize},
	{"mpr_hello_stream", "kind", helloSKind}, {"mpr_hello_stream", "max_frame", helloSMaxFrame}, {"mpr_hello_stream", "name", helloSName},
	{"mpr_welcome", "magic", welcomeMagicOff}, {"mpr_welcome", "major", welcomeMajor}, {"mpr_welcome", "minor", welcomeMinor}, {"mpr_welcome", "length", welcomeLength},
	{"mpr_welcome", "status", welcomeStatus}, {"mpr_welcome", "pairs", welcomePairs}, {"mpr_welcome", "pid", welcomePID}, {"mpr_welcome", "epoch", welcomeEpoch},
	{"mpr_welcome", "boot", welcomeBoot}, {"mpr_welcome", "name", welcomeName}, {"mpr_welcome", "reason", welcomeReason},
}

// valuesInC names each constant.
var valuesInC = []struct {
	expr string
	want uint64
}{
	{"MPR_MAJOR", abiMajor}, {"MPR_MINOR", abiMinor}, {"MPR_GRANULE", granule}, {"MPR_PAGE", pageSize},
	{"MPR_CLASSES", classCount}, {"MPR_STREAMS", maxStreams}, {"MPR_WRITERS", maxWriters}, {"MPR_FORMATS", maxFormats}, {"MPR_SLOTS_MOST", maxSlots},
	{"MPR_VIDEO", uint64(KindVideo)}, {"MPR_AUDIO", uint64(KindAudio)},
	{"MPR_KEY", uint64(FlagKey)}, {"MPR_DISCONT", uint64(FlagDiscont)}, {"MPR_CORRUPT", uint64(FlagCorrupt)}, {"MPR_EOS", uint64(FlagEOS)},
	{"MPR_CLAIMED", stateClaimed}, {"MPR_COMMITTED", stateCommitted}, {"MPR_ABORTED", stateAborted},
	{"MPR_PRODUCER_ATTACHED", producerAttached}, {"MPR_PRODUCER_ENDED", producerEnded},
	{"MPR_WAITING", consWaiting}, {"MPR_LIVE", consLive}, {"MPR_STOPPING", consStopping}, {"MPR_CLOSED", consClosed},
	{"MPR_REFUSED_STATE", consRefused}, {"MPR_INVALID_STATE", consInvalid}, {"MPR_REPLACED_STATE", consReplaced},
	{"MPR_SEG_MAGIC", segMagic}, {"MPR_CONS_MAGIC", consMagic}, {"MPR_HELLO_MAGIC", helloMagic}, {"MPR_WELCOME_MAGIC", welcomeMagic},
	{"MPR_MAILBOX_POSTED", mailboxPosted}, {"MPR_POS_BITS", posBits}, {"MPR_SEQ_MASK", seqMask}, {"MPR_NO_INTENT", intentNone},
	{"MPR_CONS_SIZE", consSize}, {"MPR_WORDS_OFF", wordsOff}, {"MPR_MAILBOX_OFF", mailboxOff}, {"MPR_WRITERS_OFF", writersOff},
	{"MPR_STREAMS_OFF", streamsOff}, {"MPR_FORMATS_OFF", formatsOff}, {"MPR_CONTROL_END", controlEnd},
	{"sizeof(mpr_slot_entry)", slotSize}, {"sizeof(mpr_writer_entry)", writerSize}, {"sizeof(mpr_stream_counters)", streamSize},
	{"sizeof(mpr_format_entry)", formatSize}, {"sizeof(mpr_class_desc)", segClassSize}, {"sizeof(mpr_class_words)", wordClassSize},
	{"sizeof(mpr_class_page)", consClassSize}, {"sizeof(mpr_hello_stream)", helloStreamSize}, {"sizeof(mpr_welcome)", welcomeSize},
	{"sizeof(((mpr_consumer_page *)0)->reason)", consReasonSize}, {"sizeof(((mpr_hello *)0)->name)", nameSize},
	{"sizeof(((mpr_hello_stream *)0)->name)", streamNameSize}, {"sizeof(((mpr_format_entry *)0)->name)", formatTextSize},
	{"MPR_AT_FOUND", uint64(faultFound)}, {"MPR_AT_MAILBOX", uint64(faultMailbox)}, {"MPR_AT_HELLO", uint64(faultHello)}, {"MPR_AT_POSTED", uint64(faultPosted)}, {"MPR_AT_WELCOME", uint64(faultWelcome)},
	{"MPR_AT_MAPPED", uint64(faultMapped)}, {"MPR_AT_ATTACHED", uint64(faultAttached)}, {"MPR_AT_WRITER_ENTRY", uint64(faultWriterEntry)}, {"MPR_AT_FORMAT", uint64(faultFormat)}, {"MPR_AT_PUBLISHED", uint64(faultPublished)},
	{"MPR_AT_ROOM", uint64(faultRoom)}, {"MPR_AT_INTENT", uint64(faultIntent)}, {"MPR_AT_MOVED", uint64(faultMoved)}, {"MPR_AT_FILLED", uint64(faultFilled)}, {"MPR_AT_TAGGED", uint64(faultTagged)},
	{"MPR_AT_CLAIMED", uint64(faultClaimed)}, {"MPR_AT_STAMPED", uint64(faultStamped)}, {"MPR_AT_COMMITTED", uint64(faultCommitted)}, {"MPR_AT_ABORTING", uint64(faultAborting)}, {"MPR_AT_ABORTED", uint64(faultAborted)},
	{"MPR_AT_TOOK_WAIT", uint64(faultTookWait)}, {"MPR_AT_MOVED_SEQ", uint64(faultMovedSeq)}, {"MPR_AT_WAITING", uint64(faultWaiting)}, {"MPR_AT_WOKEN", uint64(faultWoken)}, {"MPR_AT_ENDED", uint64(faultEnded)},
	{"MPR_AT_UNSAID", uint64(faultUnsaid)},
}

// TestLayoutAgreesWithC compiles the header and compares every offset and
// constant with Go's, in C11 and in C++17.
func TestLayoutAgreesWithC(t *testing.T) {
	var src strings.Builder
	src.WriteString("#include \"mpipe_ring.h\"\nint main(void)\n{\n")
	for _, f := range layoutInC {
		fmt.Fprintf(&src, "\tprintf(\"%%llu\\n\", (unsigned long long)offsetof(%s, %s));\n", f.typ, f.field)
	}
	for _, v := range valuesInC {
		fmt.Fprintf(&src, "\tprintf(\"%%llu\\n\", (unsigned long long)(%s));\n", v.expr)
	}
	src.WriteString("\treturn 0;\n}\n")
	for lang, flags := range map[string][]string{"c": {"-x", "c", "-std=c11"}, "c++": {"-x", "c++", "-std=c++17"}} {
		file := filepath.Join(testDir, "layout."+lang)
		if err := os.WriteFile(file, []byte(src.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(compile(t, "layout-"+lang, append(flags, file)...)).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(string(out))
		if len(lines) != len(layoutInC)+len(valuesInC) {
			t.Fatalf("%s: %d lines", lang, len(lines))
		}
		for i, f := range layoutInC {
			if lines[i] != strconv.Itoa(f.off) {
				t.Errorf("%s: %s.%s is at %s in the header, at %d in Go", lang, f.typ, f.field, lines[i], f.off)
			}
		}
		for i, v := range valuesInC {
			if got := lines[len(layoutInC)+i]; got != strconv.FormatUint(v.want, 10) {
				t.Errorf("%s: %s is %s in the header, %d in Go", lang, v.expr, got, v.want)
			}
		}
	}
}

// TestThreeWriters: two videos of different size and one audio stream, a thread
// each in one attachment, by the C example and by Go, over both modes. Every
// frame arrives with the bytes its writer committed, in order.
func TestThreeWriters(t *testing.T) {
	const frames = 200
	example := compile(t, "example", "-std=c11", "c/example.c")
	for mode, addr := range testAddrs(t) {
		if mode == "shm" {
			addr = "./" + filepath.Base(t.TempDir()) // a relative path, for a change
			t.Cleanup(func() { os.Remove(addr) })
		}
		for lang, cmd := range map[string]func(ctx context.Context) *exec.Cmd{
			"go": func(ctx context.Context) *exec.Cmd { return helper(ctx, "three", addr, strconv.Itoa(frames)) },
			"c": func(ctx context.Context) *exec.Cmd {
				return exec.CommandContext(ctx, example, "--ring", addr, "--frames", strconv.Itoa(frames),
					"--size", "640x360", "--second", "322x181", "--fps", "0", "--hash")
			},
		} {
			t.Run(mode+"/"+lang, func(t *testing.T) {
				ctx := testCtx(t)
				l, err := Listen(addr, Config{VideoBytes: 2 << 20, AudioBytes: 64 << 10, Slots: 16, startAtWrap: true})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				c := cmd(ctx)
				out := start(t, c)
				want := make(chan map[string]string, 1)
				go func() {
					m := map[string]string{}
					for out.Scan() {
						if f := strings.Fields(out.Text()); len(f) == 3 {
							m[f[0]+" "+f[1]] = f[2]
						}
					}
					want <- m
				}()
				r, err := l.Accept(ctx)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				got := collectHashes(t, r)
				expect := <-want
				if err := c.Wait(); err != nil {
					t.Fatal(err)
				}
				if len(expect) != 3*frames {
					t.Fatalf("the producer told of %d frames, want %d", len(expect), 3*frames)
				}
				for name, h := range expect {
					if got[name] != h {
						t.Errorf("frame %s: hash %q, committed %q", name, got[name], h)
					}
				}
				if len(got) != len(expect) {
					t.Errorf("%d frames arrived, %d were committed", len(got), len(expect))
				}
				st := r.Stats()
				if st.Abandoned != 0 || st.CopiesAlive != 0 || st.State != "ended" {
					t.Errorf("at the end: %+v", st)
				}
				for _, s := range st.Streams {
					if s.Frames != frames || s.DroppedFull != 0 || s.Copied != 0 {
						t.Errorf("at the end: %+v", s)
					}
				}
			})
		}
	}
}

// collectHashes takes every frame of three streams and hashes it when it is
// delivered and again when it is released.
func collectHashes(t *testing.T, r *Reader) map[string]string {
	t.Helper()
	ctx := testCtx(t)
	got := map[string]string{}
	next := map[uint16]int{}
	type lent struct {
		f Frame
		h uint64
	}
	var held []lent
	giveBack := func(keep int) {
		for len(held) > keep {
			if h := hashOf(held[0].f.Data); h != held[0].h {
				t.Errorf("a frame changed while it was lent")
			}
			held[0].f.Cell.Release()
			held = held[1:]
		}
	}
	for !r.Drained(KindVideo) || !r.Drained(KindAudio) {
		idle := true
		for _, k := range kinds {
			if _, ok := r.Peek(k); !ok {
				continue
			}
			idle = false
			f := r.Take(k)
			if f.Flags&FlagEOS != 0 {
				continue
			}
			h := hashOf(f.Data)
			name := r.Streams()[f.Stream].Name
			got[fmt.Sprintf("%s %d", name, next[f.Stream])] = fmt.Sprintf("%016x", h)
			next[f.Stream]++
			held = append(held, lent{f, h})
		}
		giveBack(3)
		r.Reclaim()
		if idle {
			giveBack(0)
			r.Wait(ctx, time.Second)
		}
		if ctx.Err() != nil || r.State() == Invalid {
			t.Fatalf("stuck: frames %v, %v: %v\n%+v", next, r.State(), r.Err(), r.Stats())
		}
	}
	giveBack(0)
	return got
}
