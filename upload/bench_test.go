package upload

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sys/unix"

	"github.com/mpipe/mpipe/test/servers"
)

const benchBytes = 256 << 20

// BenchmarkThroughput compares this package with the same client library sending
// the parts of a ready file, as many at a time, in the same run: "stream" pushes
// the bytes through Write and the spool, "file" sends the file. The metric peer/own
// is the median over all pairs, above 1 where this package is faster; cpu is that
// of the CPU time of this process; best is the shortest time of each, which other
// work on the machine disturbs least.
func BenchmarkThroughput(b *testing.B) {
	for name, start := range map[string]func(testing.TB) *servers.S3{"http": servers.StartS3, "https": servers.StartS3TLS} {
		s := start(b)
		path := filepath.Join(b.TempDir(), "ready")
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		io.CopyN(f, stream(1), benchBytes)
		f.Close()
		for kind, send := range map[string]func(*testing.B, Options, string){"stream": benchStream, "file": benchFile} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				x := newBench(b, s)
				c := peerClient(x)
				var ratios, cpus, peers, own []float64
				b.SetBytes(benchBytes)
				for i := range b.N {
					o := x.options("own")
					o.Log, o.PartSize, o.Overwrite = nil, DefaultPart, true
					var p, m cost
					both := []func(){
						func() {
							b.StopTimer()
							p = took(func() { peerUpload(b, c, x.bucket, "peer", path) })
							b.StartTimer()
						},
						func() { m = took(func() { send(b, o, path) }) },
					}
					both[i%2]()
					both[1-i%2]()
					ratios, cpus = append(ratios, p.time/m.time), append(cpus, p.cpu/m.cpu)
					peers, own = append(peers, p.time), append(own, m.time)
				}
				slices.Sort(ratios)
				slices.Sort(cpus)
				b.ReportMetric(ratios[len(ratios)/2], "peer/own")
				b.ReportMetric(cpus[len(cpus)/2], "cpu")
				b.ReportMetric(slices.Min(peers)/slices.Min(own), "best")
				b.ReportMetric(ratios[0], "least")
				b.ReportMetric(ratios[len(ratios)-1], "most")
			})
		}
	}
}

// cost is in seconds; cpu is of this process, without the store's.
type cost struct{ time, cpu float64 }

func took(f func()) cost {
	t, before := time.Now(), cpuTime()
	f()
	return cost{time.Since(t).Seconds(), cpuTime() - before}
}

func cpuTime() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func benchStream(b *testing.B, o Options, path string) {
	u, err := Start(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{u}, struct{ io.Reader }{f}, make([]byte, 256<<10)); err != nil {
		b.Fatal(err)
	}
	mustClose(b, u)
}

func benchFile(b *testing.B, o Options, path string) {
	u, err := StartFile(context.Background(), path, o)
	if err != nil {
		b.Fatal(err)
	}
	mustClose(b, u)
}

// peerClient is the library's client as it comes, with this store's CA.
func peerClient(x *bench) *s3.Client {
	st, err := newStore(x.options("k"))
	if err != nil {
		x.t.Fatal(err)
	}
	return s3.New(s3.Options{
		BaseEndpoint: &x.URL, Region: x.Region, UsePathStyle: true, HTTPClient: st.chain,
		Credentials: credentials.NewStaticCredentialsProvider(x.Access, x.Secret, ""),
	})
}

// peerUpload sends a file's parts, four at a time, with the library's defaults.
func peerUpload(b *testing.B, c *s3.Client, bucket, key, path string) {
	ctx := context.Background()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		b.Fatal(err)
	}
	parts := make([]types.CompletedPart, benchBytes/DefaultPart)
	next := make(chan int)
	var wg sync.WaitGroup
	for range defaultParallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				n := aws.Int32(int32(i + 1))
				p, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: n, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
					Body: io.NewSectionReader(f, int64(i)*DefaultPart, DefaultPart)})
				if err != nil {
					b.Error(err)
					continue
				}
				parts[i] = types.CompletedPart{PartNumber: n, ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32}
			}
		}()
	}
	for i := range parts {
		next <- i
	}
	close(next)
	wg.Wait()
	if _, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}); err != nil {
		b.Fatal(err)
	}
}
