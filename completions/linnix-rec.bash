# bash-completion loads this file at the first <TAB>; the program itself knows what completes it.
eval "$(linnix-rec completion bash)"
