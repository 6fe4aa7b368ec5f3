package filter

import "ward/abi"

// Text returns what a record holds of string parameter i of its method and
// direction, whose parameters are params, and the string's length in the
// message. The record holds a prefix: its strings share abi.RecordText bytes.
func Text(params []Param, r *abi.Record, i int) (text []byte, size int) {
	if i >= len(params) || i >= len(r.Params) || !params[i].Text {
		return nil, 0
	}
	strings := 0
	for _, p := range params[:min(len(params), len(r.Params))] {
		if p.Text {
			strings++
		}
	}
	share := abi.RecordText / 8
	switch {
	case strings == 1:
		share = abi.RecordText
	case strings == 2:
		share = abi.RecordText / 2
	case strings <= 4:
		share = abi.RecordText / 4
	}
	from, size := int(r.Params[i]>>32), int(uint32(r.Params[i]))
	from = min(from, len(r.Text))
	return r.Text[from:min(from+min(size, share), len(r.Text))], size
}
