package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"ward/graph"
	"ward/image"
)

func newGraph() *cobra.Command {
	var format string
	var names bool
	cmd := &cobra.Command{
		Use:   "graph DIR|IMAGE",
		Short: "Draw what a system allows, for Graphviz or Mermaid",
		Long: `Draw a system directory, or an image of ward compile: domains by ring, users
outside Ward, gates with their methods and policies, what may be lent, files, addresses
and objects. What is denied is not drawn; what depends on the message or the user is dashed.

	ward graph DIR | dot -Tsvg >system.svg`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: paths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "dot" && format != "mermaid" {
				return badInput("--format is %q; it must be dot or mermaid", format)
			}
			img, err := readSystem(cmd, args[0])
			if err != nil {
				return err
			}
			g := graph.Of(img, names)
			if wantJSON(cmd) {
				return printRecords(cmd.OutOrStdout(), g.Records())
			}
			text := g.DOT()
			if format == "mermaid" {
				text = g.Mermaid()
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "dot", "dot or mermaid")
	flagWords(cmd, "format", oneOf("dot", "mermaid"))
	cmd.Flags().BoolVar(&names, "names", false, "draw the name server, too: who may publish and look up")
	return cmd
}

func printRecords[R any](w io.Writer, records []R) error {
	e := jsonLines(w)
	for _, r := range records {
		if err := e.Encode(r); err != nil {
			return failed("%w", err)
		}
	}
	return nil
}

// readSystem reads a system directory, which a confined child compiles, or an
// image, which image.Decode checks. The programs of a directory are not built.
func readSystem(cmd *cobra.Command, path string) (*image.Image, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, badInput("%w", err)
	case info.Mode().IsRegular():
		return readImage(path)
	}
	c, err := compileOrReport(cmd, path)
	if err != nil {
		return nil, err
	}
	img, err := image.Decode(c.Image)
	if err != nil {
		return nil, failed("image from the compiler: %w", err)
	}
	return img, nil
}

func readImage(path string) (*image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badInput("%w", err)
	}
	defer f.Close()
	encoded, err := io.ReadAll(io.LimitReader(f, image.MaxImage+1))
	if err != nil {
		return nil, badInput("%w", err)
	}
	img, err := image.Decode(encoded)
	if err != nil {
		return nil, badInput("%s: %w", path, err)
	}
	return img, nil
}
