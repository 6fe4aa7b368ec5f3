package eval_test

import (
	"testing"

	"ward/policy/eval"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]uint64{"10s": 10e9, "1h30m": 5400e9, "1d": 86400e9, "250ms": 250e6, "0s": 0, "3650d": eval.MaxSpan} {
		got, ok := eval.ParseSpan(text)
		if !ok || got != want {
			t.Errorf("%s is %d, %v", text, got, ok)
		}
		if back, ok := eval.ParseSpan(eval.ShowSpan(got)); !ok || back != want {
			t.Errorf("%s is shown as %s", text, eval.ShowSpan(got))
		}
	}
	for _, text := range []string{"", "soon", "-1s", "10", "1.5s", "s", "3651d", "9999999999d", "3650d1ms", "1s "} {
		if got, ok := eval.ParseSpan(text); ok {
			t.Errorf("%q is read as %d", text, got)
		}
	}
	if got := eval.ShowSpan(61_000_000_001); got != "1m1s1ms" {
		t.Error(got)
	}
}
