package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/run"
	"github.com/mpipe/mpipe/upload"
)

// uploadFlags are the flags of `mpipe upload`.
type uploadFlags struct {
	resume, list, abort bool
	o                   upload.Options
	every               time.Duration
	json, verbose       bool
}

func uploadVerb() *verb {
	return &verb{
		name: "upload", args: "FILE s3://BUCKET/KEY | --resume [SPOOL…] | --list | --abort SPOOL…", max: -1,
		short: "send a file into an S3 store, or finish what a dead process left",
		long: `FILE is sent in parts, several at a time, and read where it is; "-" sends what
comes from standard input, of any length, by way of the spool. A KEY that ends
with a slash, or is left out, gets the file's name behind it. The object is
compared with what was sent before anything is called done.

An outage of the store is waited out. Whatever ends the process, its upload stays
in the spool and is finished with --resume, which sends only what the store does
not have. It takes uploads, as --list names them, and spools: of a spool, all uploads
on which no live process works. Without a name it takes the spool of --spool.

Credentials come from where AWS's tools take them: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, a container's or machine's role.

exit codes: 0 everything is in the store; 1 something failed, what is left is in
the spool; 2 wrong command line; 130 stopped by a signal, what is left is in the
spool.`,
		examples: []example{
			{"mpipe upload rec/42.mp4 s3://recordings/42.mp4", "a ready file"},
			{"mpipe upload rec/42.mp4 s3://recordings/2026/ --endpoint https://minio.example.com:9000 --path-style", "to a store of one's own, under the file's name"},
			{"ffmpeg -i rtsp://camera -c copy -f mpegts - | mpipe upload - s3://recordings/camera.ts", "what another program makes, while it makes it"},
			{"mpipe upload --resume", "after a crash: finish all that was left"},
			{"mpipe upload --resume /var/spool/mpipe", "the same, where a graph's s3 sink has its spool"},
			{"mpipe upload --list", "what there is to finish"},
			{"mpipe upload --abort ~/.local/state/mpipe/spool/20260102T150405Z-42.mp4-1f3a9c07", "give one up: delete what the store has of it, and the spool's part"},
		},
		declare: func(f *flags) func(*call) int {
			u := &uploadFlags{}
			u.declare(f)
			return u.run
		},
	}
}

func (u *uploadFlags) declare(f *flags) {
	o := &u.o
	f.switchOn(&u.resume, "resume", "finish the uploads named, or all of the spool")
	f.switchOn(&u.list, "list", "list the uploads of the spool")
	f.switchOn(&u.abort, "abort", "give up the uploads named: nothing stays of them, here or in the store")
	f.text(&o.Spool, "spool", "DIR", "", "where uploads wait (default $MPIPE_SPOOL, or mpipe/spool below $XDG_STATE_HOME or ~/.local/state)")
	f.text(&o.Endpoint, "endpoint", "URL", "", "the store, if it is not Amazon's")
	f.text(&o.Region, "region", "NAME", "", "the bucket's region")
	f.text(&o.Profile, "profile", "NAME", "", "profile of the AWS configuration files")
	f.switchOn(&o.PathStyle, "path-style", "put the bucket into the path instead of the host name")
	f.text(&o.CAFile, "ca", "FILE", "", "trust this CA too: a PEM file")
	f.switchOn(&o.NoChecksum, "no-checksum", "leave out the CRC32 of parts, for stores that refuse it")
	f.switchOn(&o.Overwrite, "overwrite", "replace an object that is there")
	f.text(&o.ContentType, "content-type", "TYPE", "", "media type; without it, by the key's ending")
	f.text(&o.StorageClass, "storage-class", "NAME", "", "such as STANDARD_IA")
	f.text(&o.ACL, "acl", "NAME", "", "canned ACL, such as private")
	f.text(&o.SSE, "sse", "NAME", "", "encrypt in the store: AES256 or aws:kms").values = []string{"AES256", "aws:kms"}
	f.text(&o.KMSKey, "kms-key", "ID", "", "the key for aws:kms")
	f.pairs(&o.Tags, "tag", "KEY=VALUE", "tag of the object")
	f.pairs(&o.Metadata, "metadata", "KEY=VALUE", "metadata of the object")
	f.size(&o.PartSize, "part-size", "", "size of the first parts, 5MiB to 5GiB; they grow so that any length fits (default 8MiB)")
	f.size(&o.SpoolMax, "spool-max", "", "how much of a stream may wait on disk (default 10GiB)")
	f.whole(&o.Parallel, "parallel", "N", "parts under way at a time (default 4)")
	f.duration(&o.GiveUp, "give-up", "10m", "how long to wait for a store that is away")
	f.duration(&u.every, "progress", "1s", "how often to show progress; 0s for never")
	f.switchOn(&u.json, "json", "print progress and results as JSON lines")
	f.switchOn(&u.verbose, "verbose", "say what fails and is tried again")
}

func (u *uploadFlags) run(c *call) int {
	if err := u.check(c.args); err != nil {
		return c.usage("%v", err)
	}
	if u.o.Spool == "" {
		u.o.Spool = upload.DefaultSpool()
	}
	if u.list {
		return u.show(c)
	}
	sc := newScreen(c.stderr)
	if u.verbose {
		u.o.Log = slog.New(slog.NewTextHandler(sc, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	stop := onSignals(sc, "stopping; what is not in the store stays in the spool")
	defer stop.release()
	work := &uploading{uploadFlags: u, c: c, sc: sc, stop: stop}
	switch {
	case u.resume:
		return work.resumeAll()
	case u.abort:
		return work.abortAll()
	}
	return work.send()
}

func (u *uploadFlags) check(args []string) error {
	modes := 0
	for _, on := range []bool{u.resume, u.list, u.abort} {
		if on {
			modes++
		}
	}
	switch {
	case modes > 1:
		return errors.New("--resume, --list and --abort exclude each other")
	case u.list && len(args) > 0:
		return fmt.Errorf("unexpected argument %q; the spool is named by --spool", args[0])
	case u.abort && len(args) == 0:
		return errors.New("--abort needs the uploads to give up; `mpipe upload --list` shows them")
	case modes > 0:
		return nil
	case len(args) == 0:
		return errors.New("missing arguments: want FILE s3://BUCKET/KEY, or --resume, --list or --abort")
	case len(args) == 1 && strings.HasPrefix(args[0], "s3://"):
		return errors.New("missing argument: the file goes before its place, FILE s3://BUCKET/KEY")
	case len(args) == 1:
		return fmt.Errorf("missing argument: where does %s go? s3://BUCKET/KEY", args[0])
	case len(args) > 2:
		return fmt.Errorf("unexpected argument %q", args[2])
	}
	return u.target(args[0], args[1])
}

// target reads s3://BUCKET/KEY.
func (u *uploadFlags) target(file, target string) error {
	rest, ok := strings.CutPrefix(target, "s3://")
	if !ok {
		return fmt.Errorf("%q: want s3://BUCKET/KEY", target)
	}
	u.o.Bucket, u.o.Key, _ = strings.Cut(rest, "/")
	if u.o.Bucket == "" {
		return fmt.Errorf("%q names no bucket: want s3://BUCKET/KEY", target)
	}
	if u.o.Key == "" || strings.HasSuffix(u.o.Key, "/") {
		if file == "-" {
			return fmt.Errorf("%q names no key, and standard input has no name: want s3://BUCKET/KEY", target)
		}
		u.o.Key += filepath.Base(file)
	}
	if u.o.ContentType == "" {
		u.o.ContentType = mediaType(u.o.Key)
	}
	return nil
}

// mediaTypes are those of what mpipe records; systems' own tables lack most.
var mediaTypes = map[string]string{
	".mp4": "video/mp4", ".m4s": "video/iso.segment", ".m4a": "audio/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm", ".ts": "video/mp2t",
	".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".m3u8": "application/vnd.apple.mpegurl",
}

func mediaType(key string) string {
	ending := strings.ToLower(path.Ext(key))
	if t := mediaTypes[ending]; t != "" {
		return t
	}
	return mime.TypeByExtension(ending)
}

// show lists the spool.
func (u *uploadFlags) show(c *call) int {
	list, err := upload.List(u.o.Spool)
	if err != nil {
		return c.failed(err)
	}
	if u.json {
		if list == nil {
			list = []upload.Entry{}
		}
		printJSON(c.stdout, list)
		return 0
	}
	if len(list) == 0 {
		fmt.Fprintf(c.stdout, "no uploads in %s\n", u.o.Spool)
		return 0
	}
	t := table(c.stdout)
	fmt.Fprintln(t, "BEGUN\tSTATE\tWAITING\tTARGET\tSPOOL")
	for _, e := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Begun.Format(time.DateTime), e.State, pipeline.FormatSize(e.Waiting), dash(e.Target), e.Spool)
	}
	t.Flush()
	return 0
}

// uploading is `mpipe upload` at work.
type uploading struct {
	*uploadFlags
	c    *call
	sc   *screen
	stop *stopper
}

// send sends a file or standard input.
func (w *uploading) send() int {
	file := w.c.args[0]
	if file != "-" {
		u, err := upload.StartFile(w.stop.ctx, file, w.o)
		return w.end(u, err)
	}
	u, err := upload.Start(w.stop.ctx, w.o)
	if err != nil {
		return w.end(nil, err)
	}
	done := w.progress(u)
	err = w.copy(u)
	done()
	if err != nil {
		u.Suspend()
		return w.end(nil, err)
	}
	return w.end(u, nil)
}

// copy writes standard input into u until it ends or a signal comes.
func (w *uploading) copy(u *upload.Upload) error {
	read := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{u}, struct{ io.Reader }{w.c.stdin}, make([]byte, 256<<10))
		read <- err
	}()
	select {
	case err := <-read:
		return err
	case <-w.stop.ctx.Done():
		return &upload.Error{Kind: upload.Stopped, Msg: "stopped before standard input ended", Spool: u.Spool(),
			Remedy: fmt.Sprintf("`mpipe upload --resume %s` makes an object of what was read", u.Spool())}
	}
}

// end waits for one upload and says what became of it.
func (w *uploading) end(u upload.Unfinished, err error) int {
	var r *upload.Result
	if err == nil {
		done := w.progress(u)
		r, err = w.close(u)
		done()
	}
	if err != nil {
		return w.failed(err)
	}
	switch {
	case w.json:
		printLine(w.c.stdout, map[string]any{"result": r})
	case r.Nothing:
		fmt.Fprintf(w.c.stdout, "%s: its writer died before the first byte; nothing was made\n", r.Location)
	default:
		fmt.Fprintf(w.c.stdout, "%s: %s in %s, compared by %s\n", r.Location, pipeline.FormatSize(r.Size), plural(r.Parts, "part"), compared(r.Verified))
	}
	return 0
}

func compared(by string) string {
	if by == "" {
		return "nothing, as these credentials may not read it"
	}
	return by
}

// close is Close; the second signal does not wait for it.
func (w *uploading) close(u upload.Unfinished) (r *upload.Result, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err = u.Close(w.stop.ctx)
	}()
	select {
	case <-done:
		return r, err
	case <-w.stop.kill:
		return nil, &upload.Error{Kind: upload.Stopped, Msg: "stopped", Spool: u.Spool()}
	}
}

func (w *uploading) failed(err error) int {
	var e *upload.Error
	if w.json && errors.As(err, &e) {
		printLine(w.c.stdout, map[string]any{"error": map[string]string{"kind": e.Kind.String(), "msg": e.Error(), "spool": e.Spool}})
	}
	code := w.c.failed(err)
	if upload.KindOf(err) == upload.Stopped && w.stop.ctx.Err() != nil {
		return run.ExitKilled
	}
	return code
}

// progress shows how an upload goes until done is called.
func (w *uploading) progress(u upload.Unfinished) (done func()) {
	if w.every == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(w.every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if s := u.Stats(); w.json {
				printLine(w.c.stdout, map[string]any{"status": s})
			} else {
				w.sc.status(s.String())
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		w.sc.clear()
	}
}

// unfinished are the uploads named, and of the spools named those on which nobody
// works.
func (w *uploading) unfinished(named []string) (dirs []string, err error) {
	for _, arg := range named {
		if _, err := os.Stat(arg); upload.IsUpload(arg) || err != nil && arg != w.o.Spool {
			dirs = append(dirs, arg) // what is wrong with it is told when it is taken up
			continue
		}
		list, err := upload.List(arg)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.State == "cut" || e.State == "ended" {
				dirs = append(dirs, e.Spool)
			}
		}
	}
	return dirs, nil
}

func (w *uploading) resumeAll() int {
	named := w.c.args
	if len(named) == 0 {
		named = []string{w.o.Spool}
	}
	dirs, err := w.unfinished(named)
	if err != nil {
		return w.c.failed(err)
	}
	if len(dirs) == 0 && !w.json {
		fmt.Fprintf(w.c.stdout, "nothing to finish in %s\n", strings.Join(named, ", "))
	}
	return w.each(dirs, func(dir string) int {
		u, err := upload.TakeUp(dir, w.o)
		return w.end(u, err)
	})
}

func (w *uploading) abortAll() int {
	return w.each(w.c.args, func(dir string) int {
		u, err := upload.TakeUp(dir, w.o)
		if err == nil {
			err = u.Abort(w.stop.ctx)
		}
		if err != nil {
			return w.failed(err)
		}
		if w.json {
			printLine(w.c.stdout, map[string]any{"aborted": dir})
		} else {
			fmt.Fprintf(w.c.stdout, "%s: given up\n", dir)
		}
		return 0
	})
}

// each does one after the other; what fails does not keep the next from its turn.
func (w *uploading) each(dirs []string, do func(string) int) (code int) {
	for _, dir := range dirs {
		if got := do(dir); got != 0 {
			code = got
		}
		if w.stop.ctx.Err() != nil {
			return run.ExitKilled
		}
	}
	return code
}
