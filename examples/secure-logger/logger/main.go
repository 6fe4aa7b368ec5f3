// Command logger receives what happened and appends it to the journal. Who it
// was comes from Ward, which knows the domain at the other end of the gate.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/secure-logger/logv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("logger: ", err)
	}
}

func serve(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, "log.v1.Journal")
	if err != nil {
		return err
	}
	defer conn.Close()
	s := grpcgate.NewServer()
	logv1.RegisterLogServer(s, &logger{journal: logv1.NewJournalClient(conn)})
	context.AfterFunc(ctx, s.Stop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

type logger struct {
	logv1.UnimplementedLogServer
	journal logv1.JournalClient
}

func (l *logger) Write(ctx context.Context, r *logv1.WriteRequest) (*logv1.WriteReply, error) {
	from, ok := gate.PeerFrom(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "a call without a peer")
	}
	reply, err := l.journal.Append(ctx, &logv1.AppendRequest{From: from.Name, Level: r.GetLevel(), Text: r.GetText()})
	if err != nil {
		return nil, err
	}
	return &logv1.WriteReply{Number: reply.GetNumber()}, nil
}
