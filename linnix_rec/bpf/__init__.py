"""The room that speaks to the kernel's BPF: objects, BTF, relocation, bpf(2); knows nothing of events."""
