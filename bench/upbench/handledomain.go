package upbench

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
)

// The domains of Handles.

const (
	bulkIface = "bench.up.v1.Bulk"
	sinkIface = "bench.up.v1.Sink"
)

// pieces are the sizes of the items of streams, by method.
var pieces = map[string]int{"Large": 120 << 10, "Small": 32 << 10}

// ledger is what the source gives, and the sink looks for.
func ledger() []byte {
	b := make([]byte, slices.Max(HandleSizes))
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// source gives bytes when it is asked.
func source(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	data := ledger()
	shared, err := d.OpenMemory(ctx, "common", gate.ReadWrite)
	if err != nil {
		return err
	}
	common, err := shared.Bytes()
	if err != nil {
		return err
	}
	return d.Serve(ctx, bulkIface, gate.HandlerFunc(func(ctx context.Context, c *gate.ServerCall) error {
		request, err := c.Recv()
		if err != nil {
			return err
		}
		_, _, n := protowire.ConsumeTag(request)
		size, m := protowire.ConsumeVarint(request[max(n, 0):])
		if n < 0 || m < 0 || size > uint64(len(data)) {
			return gate.Errorf(gate.InvalidArgument, "how many bytes?")
		}
		switch c.Method() {
		case "Give":
			return give(ctx, d, c, data[:size])
		case "Fill":
			copy(common, data[:size])
			return c.Send(nil)
		}
		for piece := range slices.Chunk(data[:size], pieces[c.Method()]) {
			err := c.SendFrom(func(b []byte) ([]byte, error) {
				return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), piece), nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// give answers with memory that is made for it.
func give(ctx context.Context, d *gate.Domain, c *gate.ServerCall, data []byte) error {
	m, err := d.Make(ctx, "bulk", len(data))
	if err != nil {
		return err
	}
	defer m.Close()
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	copy(b, data)
	if err := m.Unmap(); err != nil {
		return err
	}
	h, err := gate.OfferTo(ctx, m, gate.ReadOnly)
	if err != nil {
		return err
	}
	var lump []byte
	for i, v := range []uint64{h.ID, uint64(h.Kind), h.Size} {
		lump = protowire.AppendVarint(protowire.AppendTag(lump, protowire.Number(i+1), protowire.VarintType), v)
	}
	return c.Send(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), lump))
}

// sink has bytes transferred when it is asked, and says how long it took.
func sink(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	data := ledger()
	c, err := d.Open(ctx, bulkIface, gate.Wait())
	if err != nil {
		return err
	}
	shared, err := d.OpenMemory(ctx, "common", gate.ReadOnly)
	if err != nil {
		return err
	}
	common, err := shared.Bytes()
	if err != nil {
		return err
	}
	return d.Serve(ctx, sinkIface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
		request, err := call.Recv()
		if err != nil {
			return err
		}
		text, err := textOf(request)
		if err != nil {
			return err
		}
		var way, size int
		if _, err := fmt.Sscan(text, &way, &size); err != nil || size < 0 || size > len(data) {
			return gate.Errorf(gate.InvalidArgument, "which way, and how many bytes: %q", text)
		}
		question := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(size))
		begin := time.Now()
		var sum uint32
		switch way {
		case 0:
			sum, err = stream(ctx, c, "Large", question)
		case 1:
			sum, err = stream(ctx, c, "Small", question)
		case 2:
			sum, err = redeem(ctx, c, question)
		case 3:
			_, err = c.Invoke(ctx, "Fill", question, nil)
			sum = crc32.ChecksumIEEE(common[:size])
		}
		took := time.Since(begin)
		if err != nil {
			return err
		}
		if sum != crc32.ChecksumIEEE(data[:size]) {
			return gate.Errorf(gate.Internal, "other bytes came than were sent")
		}
		return call.Send(textField(fmt.Sprint(took.Nanoseconds())))
	}))
}

// stream makes a checksum of what comes in items.
func stream(ctx context.Context, c *gate.Client, method string, question []byte) (sum uint32, err error) {
	st, err := c.NewStream(ctx, method, nil)
	if err != nil {
		return 0, err
	}
	if err := st.Send(question); err != nil {
		return 0, err
	}
	for {
		err := st.RecvTo(func(item []byte) error {
			_, _, n := protowire.ConsumeTag(item)
			b, m := protowire.ConsumeBytes(item[max(n, 0):])
			if n < 0 || m < 0 {
				return errors.New("malformed item")
			}
			sum = crc32.Update(sum, crc32.IEEETable, b)
			return nil
		})
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// redeem makes a checksum of memory that comes by a handle.
func redeem(ctx context.Context, c *gate.Client, question []byte) (uint32, error) {
	reply, err := c.Invoke(ctx, "Give", question, nil)
	if err != nil {
		return 0, err
	}
	_, _, n := protowire.ConsumeTag(reply)
	lump, _ := protowire.ConsumeBytes(reply[max(n, 0):])
	h := gate.Handle{Kind: abi.HandleMemory}
	for len(lump) > 0 {
		num, _, n := protowire.ConsumeTag(lump)
		v, m := protowire.ConsumeVarint(lump[max(n, 0):])
		if n < 0 || m < 0 {
			return 0, errors.New("malformed handle")
		}
		lump = lump[n+m:]
		switch num {
		case 1:
			h.ID = v
		case 3:
			h.Size = v
		}
	}
	m, err := c.Redeem(ctx, h)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	b, err := m.Bytes()
	return crc32.ChecksumIEEE(b), err
}
