package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/picture/picturev1"
)

// pieceSize is the number of bytes in a piece of a picture.
const pieceSize = 1024

// maxPicture is the bound of GetReply.picture, in bytes.
const maxPicture = 96 << 10

// manager answers the calls on Pictures and Status.
type manager struct {
	picturev1.UnimplementedPicturesServer
	picturev1.UnimplementedStatusServer
	gallery gallery
	drafts  *drafts
	served  atomic.Uint64
}

func (m *manager) List(_ context.Context, r *picturev1.ListRequest) (*picturev1.ListReply, error) {
	names, err := m.gallery.names(int(r.GetLimit()))
	return &picturev1.ListReply{Names: names}, err
}

func (m *manager) Get(_ context.Context, r *picturev1.GetRequest) (*picturev1.GetReply, error) {
	picture, err := m.picture(r)
	return &picturev1.GetReply{Picture: picture}, err
}

func (m *manager) Watch(r *picturev1.GetRequest, stream picturev1.Pictures_WatchServer) error {
	picture, err := m.picture(r)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(picture, pieceSize) {
		if err := stream.Send(&picturev1.Piece{Data: piece}); err != nil {
			return err
		}
	}
	m.drafts.publish()
	return nil
}

func (m *manager) Ping(context.Context, *picturev1.PingRequest) (*picturev1.PingReply, error) {
	return &picturev1.PingReply{Served: m.served.Load()}, nil
}

func (m *manager) picture(r *picturev1.GetRequest) ([]byte, error) {
	picture, err := m.gallery.picture(r.GetName(), int(r.GetWidth()), int(r.GetHeight()), r.GetFormat() == picturev1.Format_FORMAT_GRAY)
	switch {
	case errors.Is(err, errNoPicture):
		return nil, status.Error(codes.NotFound, err.Error())
	case err != nil:
		return nil, err
	case len(picture) > maxPicture:
		return nil, status.Errorf(codes.ResourceExhausted, "%s is %d bytes at this size; the limit is %d", r.GetName(), len(picture), maxPicture)
	}
	m.served.Add(1)
	return picture, nil
}
