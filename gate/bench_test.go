package gate_test

import (
	"context"
	"testing"

	"ward/gate"
	"ward/gate/gatetest"
)

func echo(ctx context.Context, c *gate.ServerCall) error {
	b, err := c.Recv()
	if err != nil {
		return err
	}
	return c.Send(b)
}

func BenchmarkUnary(b *testing.B) {
	ce, se := gatetest.Pair(b, gatetest.Methods[0])
	go gate.ServeEnd(context.Background(), se, gate.HandlerFunc(echo))
	c, err := gate.NewClient(ce)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	req := make([]byte, 64)
	b.Run("background", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Invoke(context.Background(), "Unary", req, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cancellable", func(b *testing.B) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Invoke(ctx, "Unary", req, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel16", func(b *testing.B) {
		b.SetParallelism(8)
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := c.Invoke(context.Background(), "Unary", req, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
