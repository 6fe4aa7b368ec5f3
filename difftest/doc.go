// Package difftest compares the whole road of a message with its oracles:
// random systems, interfaces and policies are compiled, encoded, decoded,
// turned into filters and loaded into the kernel, and random messages are
// judged by
//
//   - the live filter;
//   - policy/eval on the message as Go's protobuf decoder reads it, behind a
//     check of its wire form and bounds in Go (wire_test.go);
//   - cedar-go's authorizer on the full policy set, all entities and the whole
//     context, and protovalidate on the bounds.
//
// There is nothing but tests in it. docs/differential.md says how to run them.
//
// Invariants:
//   - filters are made from an image that went through Encode and Decode;
//   - the oracles share no code with the filter or its generator;
//   - a mismatch names the seed, the system, the message and all verdicts, and is
//     reduced greedily before it is printed;
//   - positive controls: a filter of a wrong image is caught.
package difftest
