module github.com/mmconv/mmconv/testdata/goldens

go 1.26.0
