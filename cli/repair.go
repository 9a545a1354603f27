package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/repair"
)

// repairFlags are the flags of `mpipe repair`.
type repairFlags struct {
	repair.Options
	json bool
}

func repairVerb() *verb {
	return &verb{
		name: "repair", args: "FILE…", min: 1, max: -1,
		short: "make clean files of what a kill or a crash left",
		long: `It gives a recording that was never finished its index and its duration, so that
every player can show how long it is and seek in it, and takes away what had been
begun at the end and not ended. No frame is decoded or changed. A file that is
whole is left alone.

It reads MP4 and MOV, MKV, WebM, Ogg, MPEG-TS, WAV, FLAC and MP3, of mpipe or of
other recorders. The repaired file goes beside the file: a.repaired.mp4 for
a.mp4. It gets its name only after it was read back to its end; the file itself
is touched only with --in-place. A file that somebody still writes is refused.

exit codes: 0 all files are whole or were repaired; 1 a file could not be
repaired; 2 wrong command line.`,
		examples: []example{
			{"mpipe repair rec/42.mp4", "after a kill -9: a finished copy in rec/42.repaired.mp4"},
			{"mpipe repair --in-place rec/*.mkv", "all of a folder; what is whole stays as it is"},
			{"mpipe repair rec/42.ts --dry-run --json | jq .found", "what is wrong, for a program; nothing is written"},
		},
		declare: func(f *flags) func(*call) int {
			o := &repairFlags{}
			f.text(&o.Output, "out", "PATH", "", "where the repaired file goes").letter = "o"
			f.switchOn(&o.InPlace, "in-place", "put the repaired file in the place of the file")
			f.switchOn(&o.Overwrite, "overwrite", "replace a file that is already where the repaired one goes")
			f.switchOn(&o.DryRun, "dry-run", "say what is wrong and write nothing")
			f.switchOn(&o.json, "json", "print one JSON object a line for each file")
			return func(c *call) int { return o.run(c) }
		},
	}
}

func (o *repairFlags) run(c *call) int {
	switch {
	case o.Output != "" && o.InPlace:
		return c.usage("-o and --in-place exclude each other")
	case o.Output != "" && len(c.args) > 1:
		return c.usage("-o names one file, and there are %d to repair", len(c.args))
	}
	sc := newScreen(c.stderr)
	stop := onSignals(sc, "stopping")
	defer stop.release()
	code := 0
	for _, path := range c.args {
		opts := o.Options
		opts.Progress = func(done, total int64) {
			sc.status(fmt.Sprintf("%s: %s of %s", path, pipeline.FormatSize(done), pipeline.FormatSize(total)))
		}
		r, err := repair.File(stop.ctx, path, opts)
		sc.clear()
		if err != nil {
			code = c.failed(repairError(path, err))
			if o.json {
				printLine(c.stdout, map[string]string{"file": path, "error": repairError(path, err).Error()})
			}
			continue
		}
		if o.json {
			printLine(c.stdout, r)
		} else {
			showRepair(c, r)
		}
	}
	return code
}

// repairError puts the file first, once.
func repairError(path string, err error) error {
	var missing *fs.PathError
	if errors.As(err, &missing) && missing.Path == path {
		return fmt.Errorf("%s: %w", path, missing.Err)
	}
	if !strings.HasPrefix(err.Error(), path) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return err
}

func showRepair(c *call, r *repair.Report) {
	var streams []string
	for _, s := range r.Streams {
		text := fmt.Sprintf("%s %d", s.Codec, s.Frames)
		if s.Cut > 0 {
			text += fmt.Sprintf(" (%d cut, %.2fs)", s.Cut, s.CutSeconds)
		}
		streams = append(streams, text)
	}
	has := strings.Join(streams, ", ")
	if r.Whole {
		fmt.Fprintf(c.stdout, "%s: whole, nothing to do: %s, %.2fs, %s\n", r.File, r.Container, r.Duration, has)
		return
	}
	for _, text := range r.Found {
		fmt.Fprintf(c.stdout, "%s: %s\n", r.File, text)
	}
	if r.CutBytes > 0 {
		fmt.Fprintf(c.stdout, "%s: %d bytes belong to no frame that is whole\n", r.File, r.CutBytes)
	}
	if r.Output == "" {
		fmt.Fprintf(c.stdout, "%s: can be repaired: %s, %s\n", r.File, r.Container, has)
		return
	}
	fmt.Fprintf(c.stdout, "%s: repaired: %s, %.2fs, %s, %s\n", r.Output, r.Container, r.Duration, has, pipeline.FormatSize(r.Bytes))
}
