package upbench

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// A HandleRow is the time in which many bytes came from one domain to another:
// from the call until the last byte has been looked at, in nanoseconds. The one
// fills them, the other makes a checksum of them, in each way:
//
//	items of 120 KiB   a stream of messages, as large as they may be
//	items of 32 KiB    …
//	a handle           memory that is made for it, and given in the reply to be read
//	shared memory      memory that both have open; the reply says that it is filled
type HandleRow struct {
	Bench string  `json:"bench"` // "handle"
	Way   string  `json:"way"`
	Bytes int     `json:"bytes"`
	N     int     `json:"n"`
	P50   int64   `json:"p50_ns"`
	P90   int64   `json:"p90_ns"`
	Ratio float64 `json:"ratio"` // of P50 to that of items of 120 KiB
}

// HandleSizes are what is measured, in bytes.
var HandleSizes = []int{64 << 10, 1 << 20, 8 << 20}

// handlePace is the time between two turns. The monitor answers 500 requests
// about memory a second of a domain, and for a handle the source makes three:
// without a pace this bound would be measured.
const handlePace = 10 * time.Millisecond

// bulkWays are the ways, as HandleRow has them.
var bulkWays = []string{"items of 120 KiB", "items of 32 KiB", "a handle", "shared memory"}

const handlePolicy = `
@id("the measuring program asks for transfers")
permit (principal == User::"root", action == bench::up::v1::Action::"Sink.Take", resource);
@id("the sink fetches")
permit (principal == Domain::"sink", action in bench::up::v1::Action::"Bulk", resource == Domain::"source");
@id("the source makes memory")
permit (principal == Domain::"source", action == ward::Action::"create", resource == Object::"bulk");
@id("the sink reads it")
permit (principal == Domain::"sink", action == ward::Action::"open.read", resource == Object::"bulk");
@id("both open the common one")
permit (principal, action == ward::Action::"open.read", resource == Object::"common");
@id("the source writes it")
permit (principal == Domain::"source", action == ward::Action::"open.write", resource == Object::"common");
`

const handleProto = `
import "ward/v1/handle.proto";

// Bulk gives many bytes.
service Bulk {
  rpc Large(BulkRequest) returns (stream Piece);
  rpc Small(BulkRequest) returns (stream Piece);
  rpc Give(BulkRequest) returns (Lump);
  rpc Fill(BulkRequest) returns (Lump);
}

message BulkRequest {
  uint32 bytes = 1;
}

message Piece {
  bytes data = 1 [(buf.validate.field).bytes.max_len = 122880];
}

message Lump {
  ward.v1.Handle memory = 1;
}

// Sink is asked for a transfer, as "way bytes"; its answer is the time.
service Sink {
  rpc Take(GreetRequest) returns (GreetResponse);
}
`

func handleSystem(program string) string {
	var y strings.Builder
	fmt.Fprintf(&y, "  source: { program: %q, args: [%s, source], exports: [%s] }\n", program, argument, bulkIface)
	fmt.Fprintf(&y, "  sink: { program: %q, args: [%s, sink], needs: [source], exports: [{interface: %s, socket: RUN/sink.sock}] }\n", program, argument, sinkIface)
	size := slices.Max(HandleSizes)
	fmt.Fprintf(&y, "objects:\n  bulk: { kind: memory, size: %d, count: 8 }\n  common: { kind: memory, size: %d, shared: true }\n", size, size)
	return y.String()
}

// Handles starts a system and has bytes transferred in it n times in each way
// and of each size, in turns, after one turn that does not count. It needs root.
func Handles(ctx context.Context, o Options, n int) (rows []HandleRow, err error) {
	if n < 1 {
		return nil, fmt.Errorf("upbench: %d transfers; it must be one at least", n)
	}
	o.Domains = MinDomains
	o.policy, o.proto, o.system = handlePolicy, handleProto, handleSystem
	o.limit = limit + time.Duration(n)*time.Second
	o.during = func(ctx context.Context, w *wardd) error {
		rows, err = w.transfers(ctx, &o, n)
		return err
	}
	_, err = Run(ctx, o)
	return rows, err
}

func (w *wardd) transfers(ctx context.Context, o *Options, n int) (rows []HandleRow, err error) {
	c, err := gate.DialSocket(ctx, filepath.Join(w.dir, "sink.sock"))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	turn := time.NewTicker(handlePace)
	defer turn.Stop()
	for _, size := range HandleSizes {
		times := make([][]int64, len(bulkWays))
		for round := -1; round < n; round++ {
			o.Progress(fmt.Sprintf("%d KiB: %d of %d", size>>10, max(round, 0), n))
			select {
			case <-turn.C:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			for way := range bulkWays {
				d, err := take(ctx, c, way, size)
				if err != nil {
					return nil, fmt.Errorf("upbench: %d bytes, %s: %w", size, bulkWays[way], err)
				}
				if round >= 0 {
					times[way] = append(times[way], d)
				}
			}
		}
		first := len(rows)
		for way, t := range times {
			slices.Sort(t)
			rows = append(rows, HandleRow{Bench: "handle", Way: bulkWays[way], Bytes: size, N: n, P50: t[n/2], P90: t[n*9/10]})
		}
		for i := first; i < len(rows); i++ {
			rows[i].Ratio = float64(rows[i].P50) / float64(rows[first].P50)
		}
	}
	return rows, nil
}

// take asks the sink for a transfer, and returns how long it took.
func take(ctx context.Context, c *gate.Client, way, size int) (int64, error) {
	reply, err := c.Invoke(ctx, "Take", textField(fmt.Sprint(way, " ", size)), nil)
	if err != nil {
		return 0, err
	}
	text, err := textOf(reply)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// textField is a message with a string in field 1, and textOf its string.
func textField(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}

func textOf(b []byte) (string, error) {
	_, _, n := protowire.ConsumeTag(b)
	if n < 0 {
		return "", protowire.ParseError(n)
	}
	s, n := protowire.ConsumeString(b[n:])
	if n < 0 {
		return "", protowire.ParseError(n)
	}
	return s, nil
}
