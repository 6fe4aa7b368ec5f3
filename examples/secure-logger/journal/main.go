// Command journal keeps the log. Who may append and who may read is not its
// business: the policy says it, and the kernel checks it.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc"

	"ward/examples/secure-logger/logv1"
	"ward/gate/grpcgate"
)

// file is in the private /tmp of this domain: nobody else sees it.
const file = "/tmp/journal"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("journal: ", err)
	}
}

func serve(ctx context.Context) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	s := grpcgate.NewServer()
	logv1.RegisterJournalServer(s, &journal{file: f, more: make(chan struct{})})
	context.AfterFunc(ctx, s.Stop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

type journal struct {
	logv1.UnimplementedJournalServer
	file io.Writer

	mu      sync.Mutex
	entries []*logv1.Entry
	more    chan struct{} // closed when there is another entry
}

// Append adds an entry. Its digest covers all entries before it.
func (j *journal) Append(_ context.Context, r *logv1.AppendRequest) (*logv1.AppendReply, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &logv1.Entry{Number: uint64(len(j.entries)) + 1, From: r.GetFrom(), Level: r.GetLevel(), Text: r.GetText()}
	var before []byte
	if n := len(j.entries); n > 0 {
		before = j.entries[n-1].GetDigest()
	}
	e.Digest = digest(before, e)
	w := bufio.NewWriter(j.file)
	fmt.Fprintf(w, "%d %s %s %x %s\n", e.GetNumber(), e.GetFrom(), e.GetLevel(), e.GetDigest(), e.GetText())
	if err := w.Flush(); err != nil {
		return nil, err
	}
	j.entries = append(j.entries, e)
	close(j.more)
	j.more = make(chan struct{})
	return &logv1.AppendReply{Number: e.GetNumber()}, nil
}

// Follow sends what there is, and then what comes, until the reader leaves.
func (j *journal) Follow(r *logv1.FollowRequest, stream grpc.ServerStreamingServer[logv1.Entry]) error {
	for next := r.GetAfter(); ; {
		j.mu.Lock()
		var entries []*logv1.Entry
		if next < uint64(len(j.entries)) {
			entries = j.entries[next:]
		}
		more := j.more
		j.mu.Unlock()
		for _, e := range entries {
			if err := stream.Send(e); err != nil {
				return err
			}
			next = e.GetNumber()
		}
		select {
		case <-more:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// digest is SHA-256 over the digest of the entry before, the number, and each
// text with its length before it.
func digest(before []byte, e *logv1.Entry) []byte {
	h := sha256.New()
	h.Write(before)
	for _, part := range []string{fmt.Sprint(e.GetNumber()), e.GetFrom(), e.GetLevel().String(), e.GetText()} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		io.WriteString(h, part)
	}
	return h.Sum(nil)
}
